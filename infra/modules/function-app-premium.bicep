// The gateway on Elastic Premium, for clouds without Flex Consumption.
// The package is a blob that the app reads with its identity: a share of files would need the account's key.
import { access, settingSet, tagSet } from '../types.bicep'

@description('Name of the app. The host takes the first 32 characters as its id.')
@minLength(2)
@maxLength(32)
param name string

@description('Name of the plan. It serves this app only.')
param planName string

@description('Region.')
param location string

@description('Tags.')
param tags tagSet

@description('Resource id of the app\'s identity.')
param identityId string

@description('Address of the container of packages. The package in it is gateway.zip.')
param packagesUrl string

@description('Size of an instance.')
@allowed(['EP1', 'EP2', 'EP3'])
param size string

@description('Instances that are always ready.')
@minValue(1)
@maxValue(20)
param minimumInstanceCount int

@description('The most instances.')
@minValue(1)
@maxValue(100)
param maximumInstanceCount int

@description('Spread instances over zones. At least three are then always ready.')
param isZoneRedundant bool

@description('Resource id of the subnet from which the app calls out. Empty if there is none.')
param subnetId string

@description('Accept traffic from outside of private endpoints.')
param isPublic bool

@description('Settings of the app.')
param settings settingSet

@description('Roles at the app.')
param appAccess access[]

@description('Keep the app from being deleted.')
param isLocked bool

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

var readyInstances = isZoneRedundant ? max(minimumInstanceCount, 3) : minimumInstanceCount

var premiumSettings = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'python'
  WEBSITE_RUN_FROM_PACKAGE: '${packagesUrl}/gateway.zip'
  WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID: identityId
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'elastic'
  sku: { name: size, tier: 'ElasticPremium', capacity: readyInstances }
  properties: {
    reserved: true
    maximumElasticWorkerCount: maximumInstanceCount
    zoneRedundant: isZoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'gateway' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: isPublic ? 'Enabled' : 'Disabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      linuxFxVersion: 'Python|3.13'
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      healthCheckPath: '/healthz'
      vnetRouteAllEnabled: !empty(subnetId)
      minimumElasticInstanceCount: readyInstances
      functionAppScaleLimit: maximumInstanceCount
    }
  }
}

resource appSettings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: app
  name: 'appsettings'
  properties: union(premiumSettings, settings)
}

resource ftpPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource scmPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

resource roles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for each in appAccess: {
    scope: app
    name: guid(app.id, each.principalId, each.role)
    properties: {
      principalId: each.principalId
      principalType: each.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', each.role)
    }
  }
]

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (isLocked) {
  scope: app
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'The gateway that teams call.'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: app
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'FunctionAppLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Resource id of the app.')
output id string = app.id

@description('Host of the app.')
output host string = app.properties.defaultHostName
