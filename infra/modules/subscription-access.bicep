// Roles at the subscription, for costs: Azure shows them at no narrower scope that covers two resource groups.
import { access } from '../types.bicep'

targetScope = 'subscription'

@description('Roles at the subscription.')
param subscriptionAccess access[]

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in subscriptionAccess: {
    name: guid(subscription().id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]
