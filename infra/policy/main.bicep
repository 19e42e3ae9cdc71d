// The policies that hold Azure to what the gateway promises its tenants. Assignable alone:
//   az deployment sub create --location swedencentral --template-file infra/policy/main.bicep
targetScope = 'subscription'

metadata description = 'An initiative for the resources behind a gateway, and its assignments.'

// ---- scope and strictness

@description('Resource groups to which the initiative is assigned. None: the whole subscription.')
param resourceGroupNames string[] = []

@description('Region of the identities that remediate.')
param location string = deployment().location

@description('Report what breaks a rule, or refuse it. Rules for which Azure offers no denial report in either case.')
@allowed(['audit', 'deny'])
param enforcement string = 'audit'

// ---- residency and models

@description('A data zone of Azure OpenAI.')
type dataZone = 'eu' | 'us' | 'apac' | 'usgov'

@description('Data zones whose regions are allowed: those that the tenants allow. With additionalLocations empty, too, all are.')
param zones dataZone[] = []

@description('Allowed regions beside those of the zones.')
param additionalLocations string[] = []

@description('The widest area in which a deployment may process requests.')
@allowed(['region', 'dataZone', 'anywhere'])
param processing string = 'anywhere'

@description('Allowed SKUs of deployments beside those that process in this area.')
param additionalSkus string[] = []

@description('Approved models: names such as gpt-4o, or parts of an asset id with a slash.')
param approvedModels string[] = []

@description('Publishers all of whose models are approved, such as OpenAI. With no approved model either, models are not checked.')
param approvedPublishers string[] = []

@description('Report deployments without the filters for jailbreaks and protected material.')
param requireContentFilters bool = true

// ---- network, diagnostics, cost centers

@description('Require closed networks and private endpoints.')
param requirePrivateNetwork bool = true

@description('Tag that names the cost center of a resource. Empty: it is not required.')
param costCenterTag string = 'cost-center'

// ---- remediation: each needs an identity with a role

@description('Switch off the keys of Azure AI accounts that accept them. Takes Contributor on the scope.')
param switchKeyAccessOff bool = false

@description('Give resources the cost center of their resource group. Takes Contributor on the scope.')
param inheritCostCenter bool = false

@description('Log Analytics workspace that gets the logs of Azure AI accounts. Empty: logs are only audited. Takes Log Analytics Contributor on the scope and the workspace.')
param logAnalyticsWorkspaceId string = ''

@description('Private DNS zone in which private endpoints of Azure AI accounts are registered. Empty: none. Takes Network Contributor on the scope and the zone.')
param privateDnsZoneId string = ''

// The tables of shared/domain/routing: a test compares them.
var regionsOfZones = {
  eu: [
    'austriaeast'
    'belgiumcentral'
    'denmarkeast'
    'francecentral'
    'francesouth'
    'germanynorth'
    'germanywestcentral'
    'italynorth'
    'northeurope'
    'polandcentral'
    'spaincentral'
    'swedencentral'
    'swedensouth'
    'westeurope'
  ]
  us: [
    'centralus'
    'eastus'
    'eastus2'
    'northcentralus'
    'southcentralus'
    'westcentralus'
    'westus'
    'westus2'
    'westus3'
  ]
  apac: [
    'australiacentral'
    'australiacentral2'
    'australiaeast'
    'australiasoutheast'
    'centralindia'
    'japaneast'
    'japanwest'
    'jioindiacentral'
    'jioindiawest'
    'koreacentral'
    'koreasouth'
    'southeastasia'
    'southindia'
    'westindia'
  ]
  usgov: [
    'usgovarizona'
    'usgovtexas'
    'usgovvirginia'
  ]
}
var regionSkus = ['Standard', 'ProvisionedManaged']
var dataZoneSkus = ['DataZoneStandard', 'DataZoneProvisionedManaged']
var globalSkus = ['GlobalStandard', 'GlobalProvisionedManaged', 'DeveloperTier']
var skusByProcessing = {
  region: regionSkus
  dataZone: concat(regionSkus, dataZoneSkus)
  anywhere: concat(regionSkus, dataZoneSkus, globalSkus)
}

var regionsOfAllowedZones = [for zone in zones: regionsOfZones[zone]]
var allowedLocations = union(flatten(regionsOfAllowedZones), additionalLocations)
// An empty text is part of every asset id, and would approve every model.
var models = filter(approvedModels, model => !empty(trim(model)))
var modelAssetIds = map(models, model => contains(model, '/') ? model : '/models/${model}/')
var publishers = filter(approvedPublishers, publisher => !empty(trim(publisher)))

var inheritsCostCenter = inheritCostCenter && !empty(costCenterTag)
var effect = enforcement == 'deny' ? 'Deny' : 'Audit'
var initiativeParameters = {
  effect: { value: effect }
  auditIfNotExistsEffect: { value: 'AuditIfNotExists' }
  networkEffect: { value: requirePrivateNetwork ? effect : 'Disabled' }
  privateLinkEffect: { value: requirePrivateNetwork ? 'Audit' : 'Disabled' }
  // With no location, denial would refuse every resource; with no model and no publisher, every deployment.
  locationsEffect: { value: empty(allowedLocations) ? 'Disabled' : effect }
  listOfAllowedLocations: { value: allowedLocations }
  skusEffect: { value: effect }
  allowedSkus: { value: union(skusByProcessing[processing], additionalSkus) }
  modelsEffect: { value: empty(models) && empty(publishers) ? 'Disabled' : effect }
  approvedPublishers: { value: publishers }
  approvedModels: { value: modelAssetIds }
  contentFilterEffect: { value: requireContentFilters ? 'Audit' : 'Disabled' }
  costCenterEffect: { value: empty(costCenterTag) ? 'Disabled' : effect }
  costCenterTag: { value: empty(costCenterTag) ? 'cost-center' : costCenterTag }
  costCenterInheritance: { value: inheritsCostCenter ? 'Modify' : 'Disabled' }
  keyAccessRemediation: { value: switchKeyAccessOff ? 'Modify' : 'Disabled' }
  logsEffect: { value: empty(logAnalyticsWorkspaceId) ? 'Disabled' : 'DeployIfNotExists' }
  logAnalytics: { value: logAnalyticsWorkspaceId }
  dnsEffect: { value: empty(privateDnsZoneId) ? 'Disabled' : 'DeployIfNotExists' }
  privateDnsZoneId: { value: privateDnsZoneId }
}

// Roles that the policies themselves name for their remediation. Only those of active policies are granted.
var contributor = 'b24988ac-6180-42a0-ab88-20f7382dd24c'
var logAnalyticsContributor = '92aaf0da-9dab-42b6-94a3-d43ce8d16293'
var networkContributor = '4d97b98b-1d4f-4787-a291-c67834d212e7'
var remediationRoles = concat(
  switchKeyAccessOff || inheritsCostCenter ? [contributor] : [],
  empty(logAnalyticsWorkspaceId) ? [] : [logAnalyticsContributor],
  empty(privateDnsZoneId) ? [] : [networkContributor]
)

// A scope is read also where the module is left out, so that an empty id needs a place, too.
var workspaceParts = split(logAnalyticsWorkspaceId, '/')
var zoneParts = split(privateDnsZoneId, '/')

var initiative = loadJsonContent('initiative.json')
var customDefinitions = [
  { name: 'deployment-skus', definition: loadJsonContent('definitions/deployment-skus.json') }
  { name: 'cost-center-tag', definition: loadJsonContent('definitions/cost-center-tag.json') }
  { name: 'cost-center-tag-inherited', definition: loadJsonContent('definitions/cost-center-tag-inherited.json') }
]
var builtInReferences = [
  for reference in initiative.builtIns: {
    policyDefinitionReferenceId: reference.id
    policyDefinitionId: tenantResourceId('Microsoft.Authorization/policyDefinitions', reference.definition)
    definitionVersion: reference.version
    groupNames: [reference.group]
    parameters: reference.parameters
  }
]
var customReferences = [
  for reference in initiative.custom: {
    policyDefinitionReferenceId: reference.id
    policyDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/policyDefinitions',
      'tallygate-${reference.definition}'
    )
    groupNames: [reference.group]
    parameters: reference.parameters
  }
]

resource definitions 'Microsoft.Authorization/policyDefinitions@2025-03-01' = [
  for custom in customDefinitions: {
    name: 'tallygate-${custom.name}'
    properties: {
      displayName: custom.definition.properties.displayName
      description: custom.definition.properties.description
      policyType: 'Custom'
      mode: custom.definition.properties.mode
      metadata: custom.definition.properties.metadata
      parameters: custom.definition.properties.parameters
      policyRule: custom.definition.properties.policyRule
    }
  }
]

resource guardrails 'Microsoft.Authorization/policySetDefinitions@2025-03-01' = {
  name: 'tallygate-guardrails'
  properties: {
    displayName: initiative.displayName
    description: initiative.description
    policyType: 'Custom'
    metadata: { category: 'Tallygate', version: '1.0.0' }
    policyDefinitionGroups: initiative.groups
    parameters: initiative.parameters
    policyDefinitions: concat(builtInReferences, customReferences)
  }
  dependsOn: [definitions]
}

module groupAssignments 'assignment.bicep' = [
  for name in resourceGroupNames: {
    name: 'policy-${uniqueString(name)}'
    scope: resourceGroup(name)
    params: {
      location: location
      initiativeId: guardrails.id
      initiativeParameters: initiativeParameters
      remediationRoles: remediationRoles
      logAnalyticsWorkspaceId: logAnalyticsWorkspaceId
      privateDnsZoneId: privateDnsZoneId
    }
  }
]

resource subscriptionAssignment 'Microsoft.Authorization/policyAssignments@2025-03-01' = if (empty(resourceGroupNames)) {
  name: 'tallygate-guardrails'
  location: location
  identity: { type: empty(remediationRoles) ? 'None' : 'SystemAssigned' }
  properties: {
    displayName: initiative.displayName
    policyDefinitionId: guardrails.id
    parameters: initiativeParameters
    nonComplianceMessages: [{ message: 'This breaks a rule for the resources behind the gateway.' }]
  }
}

resource subscriptionRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in remediationRoles: if (empty(resourceGroupNames)) {
    name: guid(subscription().id, 'tallygate-guardrails', role)
    properties: {
      principalId: subscriptionAssignment!.identity.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

module subscriptionWorkspaceRole 'workspace-role.bicep' = if (empty(resourceGroupNames) && !empty(logAnalyticsWorkspaceId)) {
  name: 'policy-workspace-role'
  scope: resourceGroup(workspaceParts[?2] ?? subscription().subscriptionId, workspaceParts[?4] ?? 'none')
  params: {
    workspaceName: last(workspaceParts)
    principalId: subscriptionAssignment!.identity.principalId
    roleId: logAnalyticsContributor
  }
}

module subscriptionZoneRole 'zone-role.bicep' = if (empty(resourceGroupNames) && !empty(privateDnsZoneId)) {
  name: 'policy-zone-role'
  scope: resourceGroup(zoneParts[?2] ?? subscription().subscriptionId, zoneParts[?4] ?? 'none')
  params: {
    zoneName: last(zoneParts)
    principalId: subscriptionAssignment!.identity.principalId
    roleId: networkContributor
  }
}

@description('Resource id of the initiative, for an assignment elsewhere, such as in a management group.')
output INITIATIVE_ID string = guardrails.id
