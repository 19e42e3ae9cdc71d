// Assigns the initiative to one resource group, with an identity where something is remediated.
metadata description = 'An assignment of the initiative to a resource group.'

@description('Region of the identity.')
param location string

@description('Resource id of the initiative.')
param initiativeId string

@description('A parameter of the initiative that holds a text.')
type textValue = {
  @description('The text.')
  value: string
}

@description('A parameter of the initiative that holds a list.')
type listValue = {
  @description('The list.')
  value: string[]
}

@description('Values of the parameters of the initiative.')
type initiativeValues = {
  effect: textValue
  auditIfNotExistsEffect: textValue
  networkEffect: textValue
  privateLinkEffect: textValue
  locationsEffect: textValue
  listOfAllowedLocations: listValue
  skusEffect: textValue
  allowedSkus: listValue
  modelsEffect: textValue
  approvedPublishers: listValue
  approvedModels: listValue
  contentFilterEffect: textValue
  costCenterEffect: textValue
  costCenterTag: textValue
  costCenterInheritance: textValue
  keyAccessRemediation: textValue
  logsEffect: textValue
  logAnalytics: textValue
  dnsEffect: textValue
  privateDnsZoneId: textValue
}

@description('Values of the parameters of the initiative.')
param initiativeParameters initiativeValues

@description('Roles that the identity gets on the resource group. None: there is no identity.')
param remediationRoles string[]

@description('Workspace that gets the logs; empty if they are not remediated.')
param logAnalyticsWorkspaceId string

@description('Zone in which private endpoints are registered; empty if they are not.')
param privateDnsZoneId string

// A scope is read also where the module is left out, so that an empty id needs a place, too.
var workspaceParts = split(logAnalyticsWorkspaceId, '/')
var zoneParts = split(privateDnsZoneId, '/')

resource assignment 'Microsoft.Authorization/policyAssignments@2025-03-01' = {
  name: 'tallygate-guardrails'
  location: location
  identity: { type: empty(remediationRoles) ? 'None' : 'SystemAssigned' }
  properties: {
    displayName: 'Azure OpenAI behind Tallygate'
    policyDefinitionId: initiativeId
    parameters: initiativeParameters
    nonComplianceMessages: [{ message: 'This breaks a rule for the resources behind the gateway.' }]
  }
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in remediationRoles: {
    name: guid(resourceGroup().id, 'tallygate-guardrails', role)
    properties: {
      principalId: assignment.identity.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

module workspaceRole 'workspace-role.bicep' = if (!empty(logAnalyticsWorkspaceId)) {
  name: 'policy-workspace-role-${uniqueString(resourceGroup().id)}'
  scope: resourceGroup(workspaceParts[?2] ?? subscription().subscriptionId, workspaceParts[?4] ?? resourceGroup().name)
  params: {
    workspaceName: last(workspaceParts)
    principalId: assignment.identity.principalId
    roleId: '92aaf0da-9dab-42b6-94a3-d43ce8d16293'
  }
}

module zoneRole 'zone-role.bicep' = if (!empty(privateDnsZoneId)) {
  name: 'policy-zone-role-${uniqueString(resourceGroup().id)}'
  scope: resourceGroup(zoneParts[?2] ?? subscription().subscriptionId, zoneParts[?4] ?? resourceGroup().name)
  params: {
    zoneName: last(zoneParts)
    principalId: assignment.identity.principalId
    roleId: '4d97b98b-1d4f-4787-a291-c67834d212e7'
  }
}
