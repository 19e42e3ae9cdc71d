// What the gateway needs in a key vault, new or existing: the key that signs anchors, first secrets, and roles.
import { access, tagSet } from '../types.bicep'

@description('Name of the vault.')
param name string

@description('Tags.')
param tags tagSet

@description('Name of the key that signs anchors.')
param signingKeyName string

@description('Name for the administrator\'s key.')
param adminKeyEntry string

@description('Name for the key of ledger entries.')
param chainKeyEntry string

@description('Name for the key of pseudonyms.')
param privacyKeyEntry string

@description('The administrator\'s key, at the first provision. Empty leaves what is there.')
@secure()
param adminKey string

@description('The key of ledger entries, at the first provision. Empty leaves what is there.')
@secure()
param chainKey string

@description('The key of pseudonyms, at the first provision. Empty leaves what is there.')
@secure()
param privacyKey string

@description('Roles at the vault.')
param vaultAccess access[]

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: name
}

// The resource manager makes the first version only: https://learn.microsoft.com/rest/api/keyvault/keys/create-if-not-exist
resource signingKey 'Microsoft.KeyVault/vaults/keys@2025-05-01' = {
  parent: vault
  name: signingKeyName
  tags: tags
  properties: {
    kty: 'EC'
    curveName: 'P-256'
    keyOps: ['sign', 'verify']
    attributes: { enabled: true, exportable: false }
  }
}

// Each of these would be a new version at each provision, and a new chain key must be a decision.
resource adminSecret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(adminKey)) {
  parent: vault
  name: adminKeyEntry
  tags: tags
  properties: { value: adminKey }
}

resource chainSecret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(chainKey)) {
  parent: vault
  name: chainKeyEntry
  tags: tags
  properties: { value: chainKey }
}

resource privacySecret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(privacyKey)) {
  parent: vault
  name: privacyKeyEntry
  tags: tags
  properties: { value: privacyKey }
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in vaultAccess: {
    scope: vault
    name: guid(vault.id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]

@description('Resource id of the vault.')
output id string = vault.id

@description('Address of the vault.')
output url string = vault.properties.vaultUri
