metadata description = 'Gives the identity of an assignment a role on one Log Analytics workspace.'

@description('Name of the workspace.')
param workspaceName string

@description('Object id of the identity.')
param principalId string

@description('GUID of the role.')
param roleId string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, principalId, roleId)
  scope: workspace
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleId)
  }
}
