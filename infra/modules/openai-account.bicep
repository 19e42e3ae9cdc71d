// An Azure OpenAI account without keys.
import { tagSet } from '../types.bicep'

@description('Name of the account, and of its host.')
@minLength(2)
@maxLength(64)
param name string

@description('Region.')
param location string

@description('Tags.')
param tags tagSet

@description('Kind of the account.')
@allowed(['OpenAI', 'AIServices'])
param kind string

@description('Refuse all traffic but that of private endpoints.')
param isPrivate bool

@description('Restore the account, because one with its name was deleted within 48 hours.')
param isRestored bool

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' = {
  name: name
  location: location
  tags: tags
  kind: kind
  sku: { name: 'S0' }
  // Policies ask for an identity. It has no role.
  identity: { type: 'SystemAssigned' }
  properties: {
    // Tokens are accepted only where the account has a host of its own.
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: { defaultAction: isPrivate ? 'Deny' : 'Allow' }
    restore: isRestored
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}
