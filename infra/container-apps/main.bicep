// The gateway in Azure Container Apps. It brings the environment, the app and the host's storage accounts, and uses what
// exists: the identity with its roles, the books, the vault and the workspace of infra/main.bicep, and a registry.
import { settingSet, tagSet } from '../types.bicep'

@description('Name of the app.')
@minLength(2)
@maxLength(32)
param name string = 'tallygate'

@description('Region.')
param location string

@description('Tags.')
param tags tagSet = {}

@description('The image by its digest: registry/tallygate@sha256:...')
@minLength(1)
param image string

@description('Host of the registry, on which the identity has the role AcrPull.')
@minLength(1)
param registryServer string

@description('Resource id of the gateway\'s identity.')
@minLength(1)
param identityId string

@description('Client id of the gateway\'s identity.')
@minLength(36)
@maxLength(36)
param identityClientId string

@description('Object id of the gateway\'s identity, to which roles at the host\'s accounts are given.')
@minLength(36)
@maxLength(36)
param identityPrincipalId string

@description('Address of the books\' table service.')
@minLength(1)
param booksTableEndpoint string

@description('Address of the books\' blob service.')
@minLength(1)
param booksBlobEndpoint string

@description('Address of the key vault.')
@minLength(1)
param keyVaultUrl string

@description('Name of the key that signs anchors.')
param signingKeyName string = 'tallygate-anchors'

@description('Directories whose tokens are accepted, comma separated. Empty if none is.')
param entraTenantIds string = ''

@description('The application of Entra ID that stands for the gateway. Empty if tokens are not accepted.')
param entraClientId string = ''

@description('Connection string of Application Insights. It is an address and no secret: local authentication is off.')
param applicationInsightsConnection string = ''

@description('Further settings of the gateway, which replace those of the same name.')
param furtherSettings settingSet = {}

@description('Resource id of the Log Analytics workspace.')
@minLength(1)
param workspaceId string

@description('Resource id of a subnet that is delegated to Microsoft.App/environments and used by nothing else, not by Flex Consumption either. Empty for no network.')
param subnetId string = ''

@description('Accept calls from outside of the network.')
param isPublic bool = empty(subnetId)

@description('Keep the host\'s accounts out of public networks. They then need private endpoints: infra/scripts/private-endpoints.sh.')
param areHostAccountsPrivate bool = !empty(subnetId)

@description('Spread replicas over zones. It needs a network.')
param isZoneRedundant bool = !empty(subnetId)

@description('The storage account of the revision that is deployed. Two revisions are active at once while traffic moves, and must not share one: take the other with each release.')
@allowed(['blue', 'green'])
param hostAccount string = 'blue'

@description('Replicas that always run. Timers need one.')
@minValue(1)
@maxValue(100)
param minimumReplicas int = 2

@description('The most replicas.')
@minValue(1)
@maxValue(300)
param maximumReplicas int = 10

var clouds = loadJsonContent('../clouds.json')
var cloud = clouds[environment().name]
var roles = loadJsonContent('../roles.json')
var token = uniqueString(resourceGroup().id, name)
var hostRoles = [roles.storageBlobDataOwner, roles.storageQueueDataContributor, roles.storageTableDataContributor]

module blueHost '../modules/storage-host.bicep' = {
  params: {
    name: 'stblue${token}'
    location: location
    tags: tags
    isZoneRedundant: isZoneRedundant
    isPrivate: areHostAccountsPrivate
    accountAccess: map(hostRoles, role => { principalId: identityPrincipalId, principalType: 'ServicePrincipal', role: role })
    packageAccess: []
    workspaceId: workspaceId
  }
}

module greenHost '../modules/storage-host.bicep' = {
  params: {
    name: 'stgreen${token}'
    location: location
    tags: tags
    isZoneRedundant: isZoneRedundant
    isPrivate: areHostAccountsPrivate
    accountAccess: map(hostRoles, role => { principalId: identityPrincipalId, principalType: 'ServicePrincipal', role: role })
    packageAccess: []
    workspaceId: workspaceId
  }
}

var isBlue = hostAccount == 'blue'

module settings '../modules/gateway-settings.bicep' = {
  params: {
    identityClientId: identityClientId
    hostBlobEndpoint: isBlue ? blueHost.outputs.blobEndpoint : greenHost.outputs.blobEndpoint
    hostQueueEndpoint: isBlue ? blueHost.outputs.queueEndpoint : greenHost.outputs.queueEndpoint
    hostTableEndpoint: isBlue ? blueHost.outputs.tableEndpoint : greenHost.outputs.tableEndpoint
    booksTableEndpoint: booksTableEndpoint
    booksBlobEndpoint: booksBlobEndpoint
    keyVaultUrl: keyVaultUrl
    adminKeyEntry: 'tallygate-admin-key'
    chainKeyEntry: 'tallygate-chain-key'
    privacyKeyEntry: 'tallygate-privacy-key'
    signingKeyName: signingKeyName
    witnessContainerUrl: ''
    witnessUrlEntry: ''
    entraTenantIds: entraTenantIds
    entraClientId: entraClientId
    entraAuthority: cloud.entraAuthority
    backendHostSuffixes: cloud.backendHostSuffixes
    trustedProxyHops: 1
    applicationInsightsConnection: applicationInsightsConnection
    furtherSettings: furtherSettings
  }
}

resource managedEnvironment 'Microsoft.App/managedEnvironments@2025-07-01' = {
  name: 'cae-${name}'
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: { destination: 'azure-monitor' }
    publicNetworkAccess: isPublic ? 'Enabled' : 'Disabled'
    vnetConfiguration: empty(subnetId) ? null : { infrastructureSubnetId: subnetId, internal: !isPublic }
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
    zoneRedundant: isZoneRedundant
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: managedEnvironment
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'ContainerAppConsoleLogs', enabled: true }
      { category: 'ContainerAppSystemLogs', enabled: true }
    ]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    environmentId: managedEnvironment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true // inside of the network, where the environment is internal
        targetPort: 8080
        transport: 'auto'
        allowInsecure: false
      }
      registries: [{ server: registryServer, identity: identityId }]
    }
    template: {
      terminationGracePeriodSeconds: 300
      containers: [
        {
          name: 'gateway'
          image: image
          resources: { cpu: 1, memory: '2Gi' }
          env: map(items(settings.outputs.settings), each => { name: each.key, value: each.value })
          probes: [
            {
              type: 'Startup'
              httpGet: { path: '/healthz', port: 8080 }
              periodSeconds: 5
              failureThreshold: 30
            }
            {
              type: 'Liveness'
              httpGet: { path: '/healthz', port: 8080 }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 6
            }
            {
              type: 'Readiness'
              httpGet: { path: '/readyz', port: 8080 }
              periodSeconds: 10
              timeoutSeconds: 10
              failureThreshold: 3
            }
          ]
        }
      ]
      // The platform derives the rules from the triggers. It starts no replica for a timer, so one must always run.
      scale: { minReplicas: minimumReplicas, maxReplicas: maximumReplicas }
    }
  }
}

@description('Address of the gateway.')
output GATEWAY_URL string = 'https://${app.properties.configuration.ingress.fqdn}'

@description('Ids of the host\'s accounts, for private endpoints.')
output HOST_STORAGE_ACCOUNTS string[] = [blueHost.outputs.id, greenHost.outputs.id]
