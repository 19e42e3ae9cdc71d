// A budget of Azure for what the gateway's own resources cost. It tells people and stops nothing.
targetScope = 'subscription'

@description('Name of the budget.')
param name string

@description('Amount a month, in the currency of the subscription.')
@minValue(1)
param amount int

@description('The first day of a month, such as 2026-12-01. It never changes for a budget.')
@minLength(10)
@maxLength(10)
param startDate string

@description('Names of the resource groups that count.')
param resourceGroupNames string[]

@description('Addresses that get e-mail.')
param emails string[]

@description('Resource ids of action groups that are told.')
param actionGroupIds string[]

var thresholds = [
  { name: 'actual-50', percent: 50, type: 'Actual' }
  { name: 'actual-80', percent: 80, type: 'Actual' }
  { name: 'actual-100', percent: 100, type: 'Actual' }
  { name: 'forecast-100', percent: 100, type: 'Forecasted' }
]

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: { startDate: startDate }
    filter: { dimensions: { name: 'ResourceGroupName', operator: 'In', values: resourceGroupNames } }
    notifications: toObject(thresholds, each => each.name, each => {
      enabled: true
      operator: 'GreaterThanOrEqualTo'
      threshold: each.percent
      thresholdType: each.type
      contactEmails: emails
      contactGroups: actionGroupIds
    })
  }
}
