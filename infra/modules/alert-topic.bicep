// A topic of Event Grid that gets all alerts of the gateway as CloudEvents, for systems that subscribe to it.
import { access, tagSet } from '../types.bicep'

@description('Name of the topic.')
@minLength(3)
@maxLength(50)
param name string

@description('Region.')
param location string

@description('Tags.')
param tags tagSet

@description('Refuse all traffic but that of private endpoints.')
param isPrivate bool

@description('Roles at the topic.')
param topicAccess access[]

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

resource topic 'Microsoft.EventGrid/topics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  properties: {
    inputSchema: 'CloudEventSchemaV1_0'
    disableLocalAuth: true
    minimumTlsVersionAllowed: '1.2'
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in topicAccess: {
    scope: topic
    name: guid(topic.id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: topic
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Resource id.')
output id string = topic.id

@description('Address to which events are sent.')
output endpoint string = topic.properties.endpoint
