// Log Analytics, Application Insights without local authentication, and the group of people who are told.
import { access, tagSet } from '../types.bicep'

@description('Name of Application Insights.')
param name string

@description('Name of a new workspace.')
param workspaceName string

@description('Name of the action group.')
param actionGroupName string

@description('Region.')
param location string

@description('Tags.')
param tags tagSet

@description('Resource id of a workspace that exists. Empty for a new one.')
param existingWorkspaceId string

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('The most GB a day that a new workspace takes; -1 for no limit.')
param dailyQuotaGb int

@description('Addresses that get e-mail.')
param emails string[]

@description('Roles at Application Insights.')
param insightsAccess access[]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = if (empty(existingWorkspaceId)) {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
    workspaceCapping: { dailyQuotaGb: dailyQuotaGb }
  }
}

resource workspaceDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (empty(existingWorkspaceId)) {
  scope: workspace
  name: 'workspace'
  properties: {
    workspaceId: workspace!.id
    logs: [{ categoryGroup: 'audit', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    DisableLocalAuth: true
    WorkspaceResourceId: empty(existingWorkspaceId) ? workspace!.id : existingWorkspaceId
  }
}

resource insightsRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in insightsAccess: {
    scope: insights
    name: guid(insights.id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: actionGroupName
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'tallygate'
    emailReceivers: [
      for (email, index) in emails: {
        name: 'email-${index}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

@description('Resource id of the workspace.')
output workspaceId string = empty(existingWorkspaceId) ? workspace!.id : existingWorkspaceId

@description('Resource id of Application Insights.')
output applicationInsightsId string = insights.id

@description('Where telemetry is sent. Without local authentication this is an address and no secret.')
output applicationInsightsConnection string = insights.properties.ConnectionString

@description('Resource id of the action group.')
output actionGroupId string = actionGroup.id
