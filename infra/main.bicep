// Tallygate in a subscription: docs/reference/infrastructure.md.
import { access, backend, contentFilterPolicy, openAiAccount, person, principalKind, settingSet, tagSet, zoneIdSet } from 'types.bicep'

targetScope = 'subscription'

// ---- Parameters: the profile, and what differs from it ----

@description('Name of the environment, from which the names of resources follow. It never changes.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region of the gateway and its books.')
@metadata({ azd: { type: 'location' } })
@minLength(1)
param location string

@description('public: a trial at little cost. private: a network of its own. hub-and-spoke: zones and gateways of a hub. existing: a network and resources that exist. sovereign: private, on Elastic Premium.')
@allowed(['public', 'private', 'hub-and-spoke', 'existing', 'sovereign'])
param profile string = 'public'

@description('The plan. Without a value that of the profile.')
param plan ('flex' | 'premium')?

@description('Accept calls from outside of private endpoints. Without a value only the public profile does.')
param isGatewayPublic bool?

@description('Spread the app over zones. Without a value the profile decides.')
param isZoneRedundant bool?

@description('Tags of all resources, such as a cost center.')
param tags tagSet = {}

@description('Object id of whoever deploys. Empty if nobody gets a role for that.')
param principalId string = ''

@description('The kind of the principal that deploys.')
param principalType principalKind = 'User'

@description('People, groups and pipelines, with their duties.')
param people person[] = []

// ---- Parameters: network ----

@description('Address space of a new network, /23 or larger.')
param addressSpace string = '10.80.0.0/23'

@description('Resource id of the subnet from which the app calls out, in a network that exists. Empty for a new network.')
param functionsSubnetId string = ''

@description('Resource id of the subnet of private endpoints, in a network that exists. Empty for a new network.')
param endpointsSubnetId string = ''

@description('Resource id of the hub\'s network, to which a new network is peered. Empty if there is none.')
param hubNetworkId string = ''

@description('Make the hub\'s side of the peering, too. Whoever deploys then needs a role at the hub.')
param isHubPeered bool = false

@description('Reach premises through the hub\'s gateways.')
param usesHubGateways bool = false

@description('Addresses of DNS servers of a new network, comma separated. Empty if Azure resolves names.')
param dnsServers string = ''

@description('Resource id of a route table for the app\'s subnet, such as the route to a firewall. Empty if there is none.')
param routeTableId string = ''

@description('Let the app reach the internet through an address of its own. Without a value the profile decides.')
param hasNatGateway bool?

@description('Make an inbound endpoint for DNS servers on premises.')
param hasDnsResolver bool = false

@description('Resource id of the group that holds private DNS zones. Empty if zones are made.')
param dnsZoneGroupId string = ''

@description('Resource ids of further zones that exist, by name. They go before those of the group.')
param dnsZoneIds zoneIdSet = {}

@description('Link the zones of the group to the network. A hub that resolves names itself needs no links.')
param areZonesLinked bool = false

// ---- Parameters: models ----

@description('Azure OpenAI accounts, new or existing. A new one without a region is left out.')
param openAiAccounts openAiAccount[] = []

@description('Content filter policies, which each new account gets.')
param contentFilters contentFilterPolicy[] = []

@description('Names of accounts that were deleted within 48 hours, comma separated: these are restored. Azure refuses to restore others.')
param deletedAccounts string = ''

// ---- Parameters: the app ----

@description('Memory of an instance of Flex Consumption.')
@allowed([2048, 4096])
param instanceMemoryMB int = 2048

@description('The most instances.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Requests that one instance serves at a time.')
@minValue(2)
@maxValue(1000)
param perInstanceConcurrency int = 100

@description('Always-ready instances of each group. Without a value the profile decides.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int?

@description('Timers with always-ready instances, comma separated: those whose delay is felt.')
param alwaysReadyTimers string = 'expire_reservations,level_lanes'

@description('Size of an instance of Elastic Premium.')
@allowed(['EP1', 'EP2', 'EP3'])
param premiumSize string = 'EP1'

@description('Directories whose tokens are accepted, comma separated. The first is your own. Empty for that of the subscription.')
param entraTenantIds string = ''

@description('The application of Entra ID that stands for the gateway. Empty if only gateway keys are accepted.')
param entraClientId string = ''

@description('Proxies of your own before the gateway that append to X-Forwarded-For.')
@minValue(0)
@maxValue(9)
param ownProxies int = 0

@description('URL of a container of another account that gets a copy of each anchor. Empty if there is none.')
param witnessContainerUrl string = ''

@description('Name in the key vault of the address that gets each checkpoint. Empty if there is none.')
param witnessUrlEntry string = ''

@description('Further settings of the gateway: docs/reference/configuration.md.')
param furtherSettings settingSet = {}

// ---- Parameters: books and secrets ----

@description('Copies of the books.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_RAGRS', 'Standard_GZRS', 'Standard_RAGZRS'])
param booksRedundancy string = 'Standard_ZRS'

@description('Policies of anchors and statements. locked: infra/scripts/lock-immutability.sh has locked them. Without a value those of the profile.')
param booksImmutability ('none' | 'unlocked' | 'locked')?

@description('Days for which anchors and statements cannot be changed.')
@minValue(1)
@maxValue(146000)
param booksRetentionDays int = 2557

@description('Keep the books\' storage account and the key vault from being deleted. Without a value the profile decides.')
param areBooksLocked bool?

@description('Keep the app from being deleted.')
param isGatewayLocked bool = false

@description('Region of an account for copies of the books, in another region. Empty if there is none.')
param backupLocation string = ''

@description('Policy of copies of the books. locked: infra/scripts/lock-immutability.sh has locked it. Without a value they have one if the books have.')
param backupImmutability ('none' | 'unlocked' | 'locked')?

@description('Resource id of a key vault that exists. Empty for a new one.')
param existingKeyVaultId string = ''

@description('Recover the key vault, because one with its name was deleted.')
param recoversKeyVault bool = false

@description('The administrator\'s key, at a first provision without azd. Empty leaves what is there.')
@secure()
param adminKey string = ''

@description('The key of ledger entries, at a first provision without azd. Empty leaves what is there.')
@secure()
param chainKey string = ''

@description('The key of pseudonyms, at a first provision without azd. Empty leaves what is there.')
@secure()
param privacyKey string = ''

// ---- Parameters: monitoring and costs ----

@description('Resource id of a Log Analytics workspace that exists. Empty for a new one.')
param existingWorkspaceId string = ''

@description('Resource id of an Azure Monitor private link scope that exists. Empty if telemetry is sent to public addresses.')
param monitorLinkScopeId string = ''

@description('Days for which a new workspace keeps logs.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('The most GB a day that a new workspace takes; -1 for no limit.')
param logQuotaGb int = -1

@description('Addresses that get alerts by e-mail, comma separated.')
param alertEmails string = ''

@description('Make the alert rules.')
param hasAlertRules bool = true

@description('Address at which people read docs/guide/runbook.md. Alerts link to it. Empty if there is none.')
param runbookUrl string = ''

@description('Make a topic of Event Grid that gets all alerts.')
param hasAlertTopic bool = false

@description('Suffixes of hosts that webhooks for alerts may have, comma separated. Empty for the gateway\'s own list.')
param alertHosts string = ''

@description('Dollars of all tenants in a month, with which alerts compare, such as 5000. Empty if there is no such limit.')
param platformBudgetUsd string = ''

@description('Assign the initiative of infra/policy to the gateway\'s group: audit or deny. Without a value it is not assigned.')
param policyEnforcement ('audit' | 'deny')?

@description('Budget of a month for the gateway\'s own resources, in the currency of the subscription. Without a value there is none.')
@minValue(1)
param budgetAmount int?

@description('First day of the month with which the budget begins, such as 2026-12-01. It never changes.')
param budgetStartDate string = ''

// ---- Names, and what the profile decides ----

var token = uniqueString(subscription().id, environmentName)
var allTags = union(tags, { 'azd-env-name': environmentName, application: 'tallygate' })
var gatewayGroupName = 'rg-${environmentName}'
var booksGroupName = 'rg-${environmentName}-books'
var keyNames = {
  admin: 'tallygate-admin-key'
  chain: 'tallygate-chain-key'
  privacy: 'tallygate-privacy-key'
  signing: 'tallygate-anchors'
}

var presets = {
  public: {
    plan: 'flex'
    isPrivate: false
    isZoneRedundant: false
    alwaysReadyInstances: 0
    booksImmutability: 'none'
    areBooksLocked: false
    hasNatGateway: false
  }
  private: {
    plan: 'flex'
    isPrivate: true
    isZoneRedundant: true
    alwaysReadyInstances: 2
    booksImmutability: 'unlocked'
    areBooksLocked: true
    hasNatGateway: true
  }
  'hub-and-spoke': {
    plan: 'flex'
    isPrivate: true
    isZoneRedundant: true
    alwaysReadyInstances: 2
    booksImmutability: 'unlocked'
    areBooksLocked: true
    hasNatGateway: false
  }
  existing: {
    plan: 'flex'
    isPrivate: !empty(endpointsSubnetId)
    isZoneRedundant: true
    alwaysReadyInstances: 2
    booksImmutability: 'unlocked'
    areBooksLocked: true
    hasNatGateway: false
  }
  sovereign: {
    plan: 'premium'
    isPrivate: true
    isZoneRedundant: false
    alwaysReadyInstances: 2
    booksImmutability: 'unlocked'
    areBooksLocked: true
    hasNatGateway: true
  }
}
var preset = presets[profile]
var isFlex = (plan ?? preset.plan) == 'flex'
var isPrivate = preset.isPrivate
var isNetworkNew = isPrivate && empty(endpointsSubnetId)
var isAppPublic = isGatewayPublic ?? !isPrivate
var isSpreadOverZones = isZoneRedundant ?? preset.isZoneRedundant
var booksPolicies = booksImmutability ?? preset.booksImmutability
// Locked books say nothing of their copies, whose account may come later.
var backupPolicy = backupImmutability ?? (booksPolicies == 'none' ? 'none' : 'unlocked')
var areBooksKept = areBooksLocked ?? preset.areBooksLocked
// A group of a zone-redundant app has two always-ready instances or none.
var readyWanted = alwaysReadyInstances ?? preset.alwaysReadyInstances
var readyInstances = isSpreadOverZones && readyWanted > 0 ? max(readyWanted, 2) : readyWanted

var clouds = loadJsonContent('clouds.json')
var cloud = clouds[environment().name]
var storageSuffix = environment().suffixes.storage
var zoneNames = {
  blob: 'privatelink.blob.${storageSuffix}'
  queue: 'privatelink.queue.${storageSuffix}'
  table: 'privatelink.table.${storageSuffix}'
  vault: 'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
  site: cloud.siteZone
}
var allZoneNames = concat(
  map(items(zoneNames), each => each.value),
  cloud.openAiZones,
  hasAlertTopic ? [cloud.topicZone] : []
)
var zonesOfGroup = empty(dnsZoneGroupId)
  ? {}
  : toObject(allZoneNames, name => name, name => '${dnsZoneGroupId}/providers/Microsoft.Network/privateDnsZones/${name}')
var existingZoneIds = union(zonesOfGroup, dnsZoneIds)

var accounts = filter(openAiAccounts, each => (!empty(each.location) || !empty(each.?existingResourceId)))
// The fifth and third parts of a resource id are its group and its subscription.
var accountIds = [
  for each in accounts: empty(each.?existingResourceId)
    ? resourceId(
        subscription().subscriptionId,
        gatewayGroupName,
        'Microsoft.CognitiveServices/accounts',
        'oai-${each.name}-${token}'
      )
    : (each.?existingResourceId ?? '')
]
var vaultId = empty(existingKeyVaultId)
  ? resourceId(subscription().subscriptionId, booksGroupName, 'Microsoft.KeyVault/vaults', 'kv-${token}')
  : existingKeyVaultId

// ---- Roles ----

var roles = loadJsonContent('roles.json')

@description('Gives one role to some principals. Whoever has several duties gets it once: Azure refuses it twice.')
func accessOf(principals person[], role string) access[] =>
  union(
    map(principals, each => { principalId: each.principalId, principalType: each.principalType, role: role }),
    []
  )

var operators = filter(people, each => (each.duty == 'operator'))
var readers = filter(people, each => ((each.duty == 'operator') || (each.duty == 'auditor')))
var accountants = filter(people, each => (each.duty == 'accountant'))
var deployer = empty(principalId)
  ? []
  : [{ principalId: principalId, principalType: principalType, duty: 'pipeline' }]
var pipelines = concat(filter(people, each => ((each.duty == 'pipeline') && (each.principalId != principalId))), deployer)

// ---- Resource groups ----

resource gatewayGroup 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: gatewayGroupName
  location: location
  tags: allTags
}

// What outlives a teardown has a group of its own: the books, and the keys that sign and verify them.
resource booksGroup 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: booksGroupName
  location: location
  tags: allTags
}

// ---- Identity, monitoring, network ----

module identity 'modules/identity.bicep' = {
  scope: gatewayGroup
  params: { name: 'id-${token}', location: location, tags: allTags }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: gatewayGroup
  params: {
    name: 'appi-${token}'
    workspaceName: 'log-${token}'
    actionGroupName: 'ag-${token}'
    location: location
    tags: allTags
    existingWorkspaceId: existingWorkspaceId
    retentionDays: logRetentionDays
    dailyQuotaGb: logQuotaGb
    emails: filter(map(split(alertEmails, ','), each => trim(each)), each => !empty(each))
    insightsAccess: [
      {
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
        role: roles.monitoringMetricsPublisher
      }
    ]
  }
}

module workspaceAccess 'modules/workspace-access.bicep' = {
  scope: resourceGroup(
    empty(existingWorkspaceId) ? subscription().subscriptionId : split(existingWorkspaceId, '/')[2],
    empty(existingWorkspaceId) ? gatewayGroupName : split(existingWorkspaceId, '/')[4]
  )
  params: {
    name: empty(existingWorkspaceId) ? 'log-${token}' : last(split(existingWorkspaceId, '/'))
    workspaceAccess: accessOf(operators, roles.logAnalyticsReader)
  }
  dependsOn: [monitoring]
}

module monitorLink 'modules/monitor-link.bicep' = if (!empty(monitorLinkScopeId)) {
  scope: resourceGroup(
    split(monitorLinkScopeId, '/')[?2] ?? subscription().subscriptionId,
    split(monitorLinkScopeId, '/')[?4] ?? gatewayGroupName
  )
  params: {
    linkScopeName: last(split(monitorLinkScopeId, '/'))
    // A workspace that existed before is linked by whoever keeps it: Azure refuses a second link to the same scope.
    targetIds: concat(
      [monitoring.outputs.applicationInsightsId],
      empty(existingWorkspaceId) ? [monitoring.outputs.workspaceId] : []
    )
    names: concat(['appi-${token}'], empty(existingWorkspaceId) ? ['log-${token}'] : [])
  }
}

module alertRules 'modules/alert-rules.bicep' = if (hasAlertRules) {
  scope: gatewayGroup
  params: {
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    actionGroupId: monitoring.outputs.actionGroupId
    runbookUrl: runbookUrl
  }
}

module workbook 'modules/workbook.bicep' = {
  scope: gatewayGroup
  params: {
    name: 'Tallygate ${environmentName}'
    location: location
    tags: allTags
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    workspaceId: monitoring.outputs.workspaceId
  }
}

module policies 'policy/main.bicep' = if (!empty(policyEnforcement)) {
  params: {
    resourceGroupNames: [gatewayGroup.name]
    location: location
    enforcement: policyEnforcement ?? 'audit'
    requirePrivateNetwork: isPrivate
    // Else denial would refuse the next deployment of this very template.
    costCenterTag: contains(tags, 'cost-center') ? 'cost-center' : ''
  }
}

module gatewayAccess 'modules/group-access.bicep' = {
  scope: gatewayGroup
  params: { groupAccess: accessOf(operators, roles.monitoringReader) }
}

module costAccess 'modules/subscription-access.bicep' = {
  params: { subscriptionAccess: accessOf(accountants, roles.costManagementReader) }
}

module budget 'modules/budget.bicep' = if (budgetAmount != null && !empty(budgetStartDate)) {
  params: {
    name: 'budget-${environmentName}'
    amount: budgetAmount ?? 1
    startDate: budgetStartDate
    resourceGroupNames: [gatewayGroup.name, booksGroup.name]
    emails: filter(map(split(alertEmails, ','), each => trim(each)), each => !empty(each))
    actionGroupIds: [monitoring.outputs.actionGroupId]
  }
}

module network 'modules/network.bicep' = if (isNetworkNew) {
  scope: gatewayGroup
  params: {
    name: 'vnet-${token}'
    location: location
    tags: allTags
    addressSpace: addressSpace
    delegation: isFlex ? 'Microsoft.App/environments' : 'Microsoft.Web/serverFarms'
    dnsServers: filter(map(split(dnsServers, ','), each => trim(each)), each => !empty(each))
    routeTableId: routeTableId
    hasNatGateway: hasNatGateway ?? preset.hasNatGateway
    hasDnsResolver: hasDnsResolver
    workspaceId: monitoring.outputs.workspaceId
  }
}

var endpointsSubnet = isNetworkNew ? network!.outputs.endpointsSubnetId : endpointsSubnetId
var functionsSubnet = isNetworkNew ? network!.outputs.functionsSubnetId : functionsSubnetId
var networkId = isNetworkNew ? network!.outputs.id : split(endpointsSubnetId, '/subnets/')[0]

module toHub 'modules/network-peering.bicep' = if (isNetworkNew && !empty(hubNetworkId)) {
  scope: gatewayGroup
  params: { networkName: 'vnet-${token}', remoteNetworkId: hubNetworkId, usesRemoteGateways: usesHubGateways }
  dependsOn: [network, fromHub]
}

module fromHub 'modules/network-peering.bicep' = if (isNetworkNew && !empty(hubNetworkId) && isHubPeered) {
  scope: resourceGroup(
    split(hubNetworkId, '/')[?2] ?? subscription().subscriptionId,
    split(hubNetworkId, '/')[?4] ?? gatewayGroupName
  )
  params: {
    networkName: last(split(hubNetworkId, '/'))
    remoteNetworkId: networkId
    usesRemoteGateways: false
  }
}

module dns 'modules/private-dns.bicep' = if (isPrivate) {
  scope: gatewayGroup
  params: {
    zoneNames: allZoneNames
    existingZoneIds: existingZoneIds
    networkId: networkId
    tags: allTags
  }
}

module dnsLinks 'modules/private-dns-link.bicep' = [
  for zone in items(existingZoneIds): if (isPrivate && areZonesLinked) {
    scope: resourceGroup(split(zone.value, '/')[2], split(zone.value, '/')[4])
    params: { zoneName: zone.key, networkId: networkId, tags: allTags }
  }
]

// ---- Books and keys ----

module books 'modules/storage-books.bicep' = {
  scope: booksGroup
  params: {
    name: 'stbooks${token}'
    location: location
    tags: allTags
    redundancy: booksRedundancy
    isPrivate: isPrivate
    immutability: booksPolicies
    retentionDays: booksRetentionDays
    isLocked: areBooksKept
    tableAccess: concat(
      [
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          role: roles.storageTableDataContributor
        }
      ],
      accessOf(empty(backupLocation) ? readers : concat(readers, pipelines), roles.storageTableDataReader)
    )
    anchorAccess: concat(
      [
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          role: roles.storageBlobDataContributor
        }
      ],
      accessOf(empty(backupLocation) ? readers : concat(readers, pipelines), roles.storageBlobDataReader)
    )
    statementAccess: concat(
      [
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          role: roles.storageBlobDataContributor
        }
      ],
      accessOf(
        concat(readers, accountants, empty(backupLocation) ? [] : pipelines),
        roles.storageBlobDataReader
      )
    )
    workspaceId: monitoring.outputs.workspaceId
  }
}

module booksEndpoints 'modules/private-endpoint.bicep' = if (isPrivate) {
  scope: gatewayGroup
  params: {
    name: 'books'
    location: location
    tags: allTags
    subnetId: endpointsSubnet
    targetId: books.outputs.id
    zoneIds: dns!.outputs.zoneIds
    groups: [
      { groupId: 'table', zones: [zoneNames.table] }
      { groupId: 'blob', zones: [zoneNames.blob] }
    ]
  }
}

module backup 'modules/storage-backup.bicep' = if (!empty(backupLocation)) {
  scope: booksGroup
  params: {
    name: 'stbackup${token}'
    location: backupLocation
    tags: allTags
    isPrivate: isPrivate
    immutability: backupPolicy
    retentionDays: min(booksRetentionDays, 400)
    isLocked: areBooksKept
    backupAccess: concat(
      accessOf(pipelines, roles.storageBlobDataContributor),
      accessOf(operators, roles.storageBlobDataReader)
    )
    workspaceId: monitoring.outputs.workspaceId
  }
}

module backupEndpoints 'modules/private-endpoint.bicep' = if (isPrivate && !empty(backupLocation)) {
  scope: gatewayGroup
  params: {
    name: 'backup'
    location: location
    tags: allTags
    subnetId: endpointsSubnet
    targetId: backup!.outputs.id
    zoneIds: dns!.outputs.zoneIds
    groups: [{ groupId: 'blob', zones: [zoneNames.blob] }]
  }
}

module vault 'modules/key-vault.bicep' = if (empty(existingKeyVaultId)) {
  scope: booksGroup
  params: {
    name: last(split(vaultId, '/'))
    location: location
    tags: allTags
    isPrivate: isPrivate
    isRecovered: recoversKeyVault
    isLocked: areBooksKept
    workspaceId: monitoring.outputs.workspaceId
  }
}

module keys 'modules/key-vault-content.bicep' = {
  scope: resourceGroup(split(vaultId, '/')[2], split(vaultId, '/')[4])
  params: {
    name: last(split(vaultId, '/'))
    tags: allTags
    signingKeyName: keyNames.signing
    adminKeyEntry: keyNames.admin
    chainKeyEntry: keyNames.chain
    privacyKeyEntry: keyNames.privacy
    adminKey: adminKey
    chainKey: chainKey
    privacyKey: privacyKey
    vaultAccess: concat(
      [
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          role: roles.keyVaultSecretsUser
        }
        {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          role: roles.keyVaultCryptoUser
        }
      ],
      accessOf(operators, roles.keyVaultSecretsOfficer)
    )
  }
  dependsOn: [vault]
}

module vaultEndpoints 'modules/private-endpoint.bicep' = if (isPrivate) {
  scope: gatewayGroup
  params: {
    name: 'vault'
    location: location
    tags: allTags
    subnetId: endpointsSubnet
    targetId: keys.outputs.id
    zoneIds: dns!.outputs.zoneIds
    groups: [{ groupId: 'vault', zones: [zoneNames.vault] }]
  }
}

// ---- Azure OpenAI ----

module openAi 'modules/openai-account.bicep' = [
  for (each, index) in accounts: if (empty(each.?existingResourceId)) {
    scope: gatewayGroup
    params: {
      name: last(split(accountIds[index], '/'))
      location: each.location
      tags: allTags
      kind: each.?kind ?? 'OpenAI'
      isPrivate: isPrivate
      isRestored: contains(map(split(deletedAccounts, ','), name => trim(name)), last(split(accountIds[index], '/')))
      workspaceId: monitoring.outputs.workspaceId
    }
  }
]

module models 'modules/openai-content.bicep' = [
  for (each, index) in accounts: {
    scope: resourceGroup(split(accountIds[index], '/')[2], split(accountIds[index], '/')[4])
    params: {
      accountName: last(split(accountIds[index], '/'))
      backendPrefix: each.name
      tags: allTags
      deployments: each.deployments
      contentFilters: contentFilters
      isNew: empty(each.?existingResourceId)
      accountAccess: [
        for role in concat(
          [roles.cognitiveServicesOpenAiUser],
          (each.?kind ?? 'OpenAI') == 'AIServices' ? [roles.cognitiveServicesUser] : []
        ): {
          principalId: identity.outputs.principalId
          principalType: 'ServicePrincipal'
          role: role
        }
      ]
    }
    dependsOn: [openAi]
  }
]

module openAiEndpoints 'modules/private-endpoint.bicep' = [
  for (each, index) in accounts: if (isPrivate) {
    scope: gatewayGroup
    params: {
      name: 'oai-${each.name}'
      location: location
      tags: allTags
      subnetId: endpointsSubnet
      targetId: models[index].outputs.id
      zoneIds: dns!.outputs.zoneIds
      groups: [{ groupId: 'account', zones: cloud.openAiZones }]
    }
  }
]

module backends 'modules/backend-list.bicep' = {
  scope: gatewayGroup
  params: { lists: [for (each, index) in accounts: models[index].outputs.backends] }
}

// ---- The app ----

module host 'modules/storage-host.bicep' = {
  scope: gatewayGroup
  params: {
    name: 'sthost${token}'
    location: location
    tags: allTags
    isZoneRedundant: isSpreadOverZones
    isPrivate: isPrivate
    accountAccess: [
      for role in [roles.storageBlobDataOwner, roles.storageQueueDataContributor, roles.storageTableDataContributor]: {
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
        role: role
      }
    ]
    packageAccess: accessOf(pipelines, roles.storageBlobDataContributor)
    workspaceId: monitoring.outputs.workspaceId
  }
}

module hostEndpoints 'modules/private-endpoint.bicep' = if (isPrivate) {
  scope: gatewayGroup
  params: {
    name: 'host'
    location: location
    tags: allTags
    subnetId: endpointsSubnet
    targetId: host.outputs.id
    zoneIds: dns!.outputs.zoneIds
    groups: [
      { groupId: 'blob', zones: [zoneNames.blob] }
      { groupId: 'queue', zones: [zoneNames.queue] }
      { groupId: 'table', zones: [zoneNames.table] }
    ]
  }
}

module alertTopic 'modules/alert-topic.bicep' = if (hasAlertTopic) {
  scope: gatewayGroup
  params: {
    name: 'alerts-${token}'
    location: location
    tags: allTags
    isPrivate: isPrivate
    topicAccess: [
      {
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
        role: roles.eventGridDataSender
      }
    ]
    workspaceId: monitoring.outputs.workspaceId
  }
}

module alertTopicEndpoints 'modules/private-endpoint.bicep' = if (isPrivate && hasAlertTopic) {
  scope: gatewayGroup
  params: {
    name: 'alerts'
    location: location
    tags: allTags
    subnetId: endpointsSubnet
    targetId: alertTopic!.outputs.id
    zoneIds: dns!.outputs.zoneIds
    groups: [{ groupId: 'topic', zones: [cloud.topicZone] }]
  }
}

module settings 'modules/gateway-settings.bicep' = {
  scope: gatewayGroup
  params: {
    identityClientId: identity.outputs.clientId
    hostBlobEndpoint: host.outputs.blobEndpoint
    hostQueueEndpoint: host.outputs.queueEndpoint
    hostTableEndpoint: host.outputs.tableEndpoint
    booksTableEndpoint: books.outputs.tableEndpoint
    booksBlobEndpoint: books.outputs.blobEndpoint
    keyVaultUrl: keys.outputs.url
    adminKeyEntry: keyNames.admin
    chainKeyEntry: keyNames.chain
    privacyKeyEntry: keyNames.privacy
    signingKeyName: keyNames.signing
    witnessContainerUrl: witnessContainerUrl
    witnessUrlEntry: witnessUrlEntry
    entraTenantIds: empty(entraTenantIds) ? tenant().tenantId : entraTenantIds
    entraClientId: entraClientId
    entraAuthority: cloud.entraAuthority
    backendHostSuffixes: cloud.backendHostSuffixes
    trustedProxyHops: ownProxies + 1
    applicationInsightsConnection: monitoring.outputs.applicationInsightsConnection
    alertTopicEndpoint: hasAlertTopic ? alertTopic!.outputs.endpoint : ''
    runbookUrl: runbookUrl
    alertHosts: alertHosts
    platformBudgetUsd: platformBudgetUsd
    furtherSettings: furtherSettings
  }
}

var readyGroups = concat(['http'], map(filter(split(alwaysReadyTimers, ','), each => !empty(trim(each))), each => 'function:${trim(each)}'))
var alwaysReady = [for each in readyGroups: { name: each, instanceCount: readyInstances }]

// The platform fetches the package with the app's identity: roles, endpoints and names come before the app.
module flexApp 'modules/function-app.bicep' = if (isFlex) {
  scope: gatewayGroup
  params: {
    name: 'tallygate-${token}'
    planName: 'plan-${token}'
    location: location
    tags: allTags
    identityId: identity.outputs.id
    packagesUrl: host.outputs.packagesUrl
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    perInstanceConcurrency: perInstanceConcurrency
    alwaysReady: readyInstances > 0 ? alwaysReady : []
    isZoneRedundant: isSpreadOverZones
    subnetId: isPrivate ? functionsSubnet : ''
    isPublic: isAppPublic
    isLocked: isGatewayLocked
    settings: settings.outputs.settings
    appAccess: accessOf(pipelines, roles.websiteContributor)
    workspaceId: monitoring.outputs.workspaceId
  }
  dependsOn: [hostEndpoints, booksEndpoints, vaultEndpoints]
}

module premiumApp 'modules/function-app-premium.bicep' = if (!isFlex) {
  scope: gatewayGroup
  params: {
    name: 'tallygate-${token}'
    planName: 'plan-${token}'
    location: location
    tags: allTags
    identityId: identity.outputs.id
    packagesUrl: host.outputs.packagesUrl
    size: premiumSize
    minimumInstanceCount: max(readyInstances, 1)
    maximumInstanceCount: min(maximumInstanceCount, 100)
    isZoneRedundant: isSpreadOverZones
    subnetId: isPrivate ? functionsSubnet : ''
    isPublic: isAppPublic
    isLocked: isGatewayLocked
    settings: settings.outputs.settings
    appAccess: accessOf(pipelines, roles.websiteContributor)
    workspaceId: monitoring.outputs.workspaceId
  }
  dependsOn: [hostEndpoints, booksEndpoints, vaultEndpoints]
}

module appEndpoints 'modules/private-endpoint.bicep' = if (isPrivate) {
  scope: gatewayGroup
  params: {
    name: 'app'
    location: location
    tags: allTags
    subnetId: endpointsSubnet
    targetId: isFlex ? flexApp!.outputs.id : premiumApp!.outputs.id
    zoneIds: dns!.outputs.zoneIds
    groups: [{ groupId: 'sites', zones: [zoneNames.site] }]
  }
}

// ---- Outputs: azd keeps them as variables, which the hooks read ----

@description('Address of the gateway.')
output GATEWAY_URL string = 'https://${isFlex ? flexApp!.outputs.host : premiumApp!.outputs.host}'

@description('The profile. It follows an environment of azd to another machine, whose next provision would else be public.')
output GATEWAY_PROFILE string = profile

@description('Name of the app.')
output GATEWAY_NAME string = 'tallygate-${token}'

@description('Whether the gateway is reached through private endpoints only.')
output GATEWAY_IS_PRIVATE bool = !isAppPublic

@description('The plan: flex, or premium, whose package is uploaded as a blob.')
output GATEWAY_PLAN string = isFlex ? 'flex' : 'premium'

@description('Client id of the gateway\'s identity.')
output GATEWAY_CLIENT_ID string = identity.outputs.clientId

@description('Object id of the gateway\'s identity.')
output GATEWAY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Resource group of the gateway.')
output AZURE_RESOURCE_GROUP string = gatewayGroup.name

@description('Resource group of the books.')
output BOOKS_RESOURCE_GROUP string = booksGroup.name

@description('Storage account of the books.')
output BOOKS_STORAGE_ACCOUNT string = books.outputs.name

@description('Table service of the books.')
output BOOKS_TABLE_ENDPOINT string = books.outputs.tableEndpoint

@description('Blob service of the books.')
output BOOKS_BLOB_ENDPOINT string = books.outputs.blobEndpoint

@description('Policies of anchors and statements: none, unlocked or locked.')
output BOOKS_IMMUTABILITY string = booksPolicies

@description('Storage account of copies of the books; empty if there is none.')
output BACKUP_STORAGE_ACCOUNT string = empty(backupLocation) ? '' : backup!.outputs.name

@description('Storage account of the host.')
output HOST_STORAGE_ACCOUNT string = host.outputs.name

@description('Container of packages.')
output PACKAGES_URL string = host.outputs.packagesUrl

@description('Resource id of the key vault.')
output AZURE_KEY_VAULT_ID string = keys.outputs.id

@description('Name of the key vault.')
output AZURE_KEY_VAULT_NAME string = last(split(vaultId, '/'))

@description('Address of the key vault.')
output AZURE_KEY_VAULT_URL string = keys.outputs.url

@description('The application of Entra ID that stands for the gateway.')
output ENTRA_CLIENT_ID string = entraClientId

@description('The backends that the template made, for the management API.')
output AZURE_OPENAI_BACKENDS backend[] = backends.outputs.backends

@description('Name of Application Insights.')
output APPLICATIONINSIGHTS_NAME string = 'appi-${token}'

@description('Resource id of the Log Analytics workspace.')
output LOG_ANALYTICS_WORKSPACE_ID string = monitoring.outputs.workspaceId
