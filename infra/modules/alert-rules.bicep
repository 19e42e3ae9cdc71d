// Rules that search the logs and tell the action group. Each has a query and a section of the runbook of its name.
import { tagSet } from '../types.bicep'

@description('Region.')
param location string

@description('Tags.')
param tags tagSet

@description('Resource id of the workspace that has the logs.')
param workspaceId string

@description('Resource id of Application Insights. Other gateways may write to the same workspace.')
param applicationInsightsId string

@description('Resource id of the action group.')
param actionGroupId string

@description('Address of the runbook page. The name of the rule is added as its anchor.')
param runbookUrl string = ''

@description('Rules that are off, by name.')
param disabledRules string[] = []

@description('Percent of failed attempts above which a region counts as down. An alert of the gateway counts as 100.')
@minValue(0)
@maxValue(99)
param regionFailurePercent int = 50

@description('Requests in ten minutes that no backend of a deployment takes, above which the pool counts as down.')
param poolRefusals int = 10

@description('Percent of requests answered with 5xx, above which the error rate is too high.')
param errorPercent int = 5

@description('Dollars in an hour above which an unusual spending of a tenant is told.')
param anomalyDollars int = 10

// severity: 0 critical, 1 error, 2 warning, 3 informational. dimensions: each combination is an alert of its own.
// endsByItself: rules that tell of single events have no end, and count each by its time of arrival.
var rules = [
  {
    name: 'region-down'
    title: 'A region of Azure OpenAI fails'
    severity: 1
    query: loadTextContent('../monitoring/queries/region-down.kql')
    dimensions: ['region']
    threshold: regionFailurePercent
    frequency: 'PT5M'
    window: 'PT10M'
    endsByItself: true
  }
  {
    name: 'pool-down'
    title: 'No backend of a deployment takes requests'
    severity: 1
    query: loadTextContent('../monitoring/queries/pool-down.kql')
    dimensions: ['deployment']
    threshold: poolRefusals
    frequency: 'PT5M'
    window: 'PT10M'
    endsByItself: true
  }
  {
    name: 'ledger-unavailable'
    title: 'The ledger cannot be reached, and requests are refused'
    severity: 0
    query: loadTextContent('../monitoring/queries/ledger-unavailable.kql')
    dimensions: []
    threshold: 0
    frequency: 'PT5M'
    window: 'PT10M'
    endsByItself: true
  }
  {
    name: 'timer-late'
    title: 'A timer is late'
    severity: 1
    query: loadTextContent('../monitoring/queries/timer-late.kql')
    dimensions: ['timer']
    threshold: 0
    frequency: 'PT5M'
    window: 'PT30M'
    endsByItself: true
  }
  {
    name: 'verification-failed'
    title: 'The verification of the books has findings'
    severity: 0
    query: loadTextContent('../monitoring/queries/verification-failed.kql')
    dimensions: []
    threshold: 0
    frequency: 'PT5M'
    window: 'PT1H'
    endsByItself: true
  }
  {
    name: 'budget-threshold'
    title: 'A tenant passed a threshold of its quota or budget'
    severity: 3
    query: loadTextContent('../monitoring/queries/budget-threshold.kql')
    dimensions: ['alert', 'subject', 'tenant']
    threshold: 0
    frequency: 'PT5M'
    window: 'PT30M'
    endsByItself: false
  }
  {
    name: 'model-unpriced'
    title: 'Requests are refused because a model has no price'
    severity: 2
    query: loadTextContent('../monitoring/queries/model-unpriced.kql')
    dimensions: ['deployment']
    threshold: 0
    frequency: 'PT5M'
    window: 'PT15M'
    endsByItself: true
  }
  {
    name: 'error-rate'
    title: 'Too many requests are answered with 5xx'
    severity: 2
    query: loadTextContent('../monitoring/queries/error-rate.kql')
    dimensions: ['deployment']
    threshold: errorPercent
    frequency: 'PT5M'
    window: 'PT15M'
    endsByItself: true
  }
  {
    name: 'spend-anomaly'
    title: 'A tenant spends unusually much'
    severity: 2
    query: loadTextContent('../monitoring/queries/spend-anomaly.kql')
    dimensions: ['tenant']
    threshold: anomalyDollars
    frequency: 'PT1H'
    window: 'P2D'
    endsByItself: true
  }
  {
    name: 'alert-undelivered'
    title: 'An alert could not be delivered'
    severity: 1
    query: loadTextContent('../monitoring/queries/alert-undelivered.kql')
    dimensions: ['alert', 'subject', 'sink']
    threshold: 0
    frequency: 'PT5M'
    window: 'PT30M'
    endsByItself: false
  }
  {
    name: 'gateway-alert'
    title: 'The gateway raised an alert'
    severity: 2
    query: loadTextContent('../monitoring/queries/gateway-alert.kql')
    dimensions: ['alert', 'subject', 'severity']
    threshold: 0
    frequency: 'PT5M'
    window: 'PT30M'
    endsByItself: false
  }
]

resource alertRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: 'gateway-${uniqueString(applicationInsightsId)}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${last(split(applicationInsightsId, '/'))}: ${rule.title}'
      description: empty(runbookUrl)
        ? '${rule.title}. See the section ${rule.name} of the runbook.'
        : '${rule.title}. ${runbookUrl}#${rule.name}'
      severity: rule.severity
      enabled: !contains(disabledRules, rule.name)
      scopes: [workspaceId]
      evaluationFrequency: rule.frequency
      windowSize: rule.window
      // The tables of Application Insights may be absent until the gateway has written its first line.
      skipQueryValidation: true
      autoMitigate: rule.endsByItself
      criteria: {
        allOf: [
          {
            query: replace(rule.query, 'APPLICATION_INSIGHTS_ID', applicationInsightsId)
            timeAggregation: 'Maximum'
            metricMeasureColumn: 'value'
            dimensions: map(rule.dimensions, name => { name: name, operator: 'Include', values: ['*'] })
            operator: 'GreaterThan'
            threshold: rule.threshold
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: {
        actionGroups: [actionGroupId]
        customProperties: {
          rule: rule.name
          runbook: empty(runbookUrl) ? '' : '${runbookUrl}#${rule.name}'
        }
      }
    }
  }
]
