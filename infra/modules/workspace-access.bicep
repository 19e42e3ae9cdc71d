// Roles at a Log Analytics workspace. Deploy it to the resource group of the workspace.
import { access } from '../types.bicep'

@description('Name of the workspace.')
param name string

@description('Roles at the workspace.')
param workspaceAccess access[]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: name
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in workspaceAccess: {
    scope: workspace
    name: guid(workspace.id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]
