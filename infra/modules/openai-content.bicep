// Content filters, deployments and roles of an Azure OpenAI account, and the backends that they make.
// Deploy it to the resource group of the account. An account that existed before gets roles only.
import { access, backend, contentFilterPolicy, modelDeployment, tagSet } from '../types.bicep'

@description('Name of the account.')
param accountName string

@description('Begins the ids of the backends.')
param backendPrefix string

@description('Tags.')
param tags tagSet

@description('Deployments that the gateway uses.')
param deployments modelDeployment[]

@description('Content filter policies.')
param contentFilters contentFilterPolicy[]

@description('Make policies and deployments; false if the account and its deployments exist.')
param isNew bool

@description('Roles at the account.')
param accountAccess access[]

// Azure refuses a spillover to a deployment that does not exist yet.
var spilling = filter(deployments, each => !empty(each.?spilloverDeploymentName))
var ordinary = filter(deployments, each => empty(each.?spilloverDeploymentName))

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' existing = {
  name: accountName
}

@batchSize(1)
resource policies 'Microsoft.CognitiveServices/accounts/raiPolicies@2025-09-01' = [
  for each in contentFilters: if (isNew) {
    parent: account
    name: each.name
    tags: tags
    properties: {
      mode: each.mode
      basePolicyName: each.basePolicyName
      contentFilters: each.filters
    }
  }
]

// An account takes one change at a time.
@batchSize(1)
resource ordinaryDeployments 'Microsoft.CognitiveServices/accounts/deployments@2026-05-01' = [
  for each in ordinary: if (isNew) {
    parent: account
    name: each.name
    tags: tags
    sku: { name: each.sku, capacity: each.capacity }
    properties: {
      model: { format: each.?format ?? 'OpenAI', name: each.model, version: each.version }
      raiPolicyName: each.?contentFilter ?? 'Microsoft.DefaultV2'
      versionUpgradeOption: each.?versionUpgradeOption ?? 'NoAutoUpgrade'
    }
    dependsOn: [policies]
  }
]

@batchSize(1)
resource spillingDeployments 'Microsoft.CognitiveServices/accounts/deployments@2026-05-01' = [
  for each in spilling: if (isNew) {
    parent: account
    name: each.name
    tags: tags
    sku: { name: each.sku, capacity: each.capacity }
    properties: {
      model: { format: each.?format ?? 'OpenAI', name: each.model, version: each.version }
      raiPolicyName: each.?contentFilter ?? 'Microsoft.DefaultV2'
      versionUpgradeOption: each.?versionUpgradeOption ?? 'NoAutoUpgrade'
      spilloverDeploymentName: each.?spilloverDeploymentName
    }
    dependsOn: [ordinaryDeployments]
  }
]

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in accountAccess: {
    scope: account
    name: guid(account.id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]

@description('Resource id of the account.')
output id string = account.id

@description('The backends: a deployment that spills says where to, so that the gateway knows the price and the place.')
output backends backend[] = [
  for each in deployments: {
    id: '${backendPrefix}-${each.name}'
    endpoint: account.properties.endpoint
    // What exists may be elsewhere than the gateway.
    region: toLower(replace(account.location, ' ', ''))
    sku: each.sku
    deployment: each.name
    model: each.model
    version: each.version
    spillover_deployment: empty(each.?spilloverDeploymentName)
      ? null
      : first(map(
          filter(ordinary, other => (other.name == each.?spilloverDeploymentName)),
          other => { deployment: other.name, sku: other.sku, model: other.model, model_version: other.version }
        ))
  }
]
