metadata description = 'Gives the identity of an assignment a role on one private DNS zone.'

@description('Name of the zone.')
param zoneName string

@description('Object id of the identity.')
param principalId string

@description('GUID of the role.')
param roleId string

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' existing = {
  name: zoneName
}

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(zone.id, principalId, roleId)
  scope: zone
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleId)
  }
}
