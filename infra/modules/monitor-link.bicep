// Puts the gateway's telemetry behind an Azure Monitor private link scope. Deploy it to the scope's resource group.

@description('Name of the private link scope.')
param linkScopeName string

@description('Names of the links, in the order of the targets.')
param names string[]

@description('Resource ids of Application Insights and of the workspace.')
param targetIds string[]

resource linkScope 'microsoft.insights/privateLinkScopes@2021-07-01-preview' existing = {
  name: linkScopeName
}

// A scope takes one change at a time.
@batchSize(1)
resource links 'microsoft.insights/privateLinkScopes/scopedResources@2021-07-01-preview' = [
  for (name, index) in names: {
    parent: linkScope
    name: name
    properties: { linkedResourceId: targetIds[index] }
  }
]
