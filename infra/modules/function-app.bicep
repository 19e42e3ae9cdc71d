// The gateway on Flex Consumption.
import { access, alwaysReadyGroup, settingSet, tagSet } from '../types.bicep'

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

@description('Address of the container of packages.')
param packagesUrl string

@description('Memory of an instance.')
@allowed([2048, 4096])
param instanceMemoryMB int

@description('The most instances.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int

@description('Requests that one instance serves at a time.')
@minValue(2)
@maxValue(1000)
param perInstanceConcurrency int

@description('Instances that are always ready, by group.')
param alwaysReady alwaysReadyGroup[]

@description('Spread instances over zones. Each always-ready group then needs two instances.')
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

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: {
    reserved: true
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
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packagesUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady
        // Python's default is one request an instance: each would get an instance, and no commits would be grouped.
        triggers: { http: { perInstanceConcurrency: perInstanceConcurrency } }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
    }
  }
}

resource appSettings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: app
  name: 'appsettings'
  properties: settings
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
