// Roles at a resource group.
import { access } from '../types.bicep'

@description('Roles at the resource group.')
param groupAccess access[]

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in groupAccess: {
    name: guid(resourceGroup().id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]
