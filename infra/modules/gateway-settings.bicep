// The settings of the gateway, on whichever plan it runs. It makes no resources.
// Each is known to shared/settings.py or to the Functions host. None is a secret or refers to one: secrets are named.
import { settingSet } from '../types.bicep'

@description('Client id of the gateway\'s identity.')
param identityClientId string

@description('Address of the host\'s blob service.')
param hostBlobEndpoint string

@description('Address of the host\'s queue service.')
param hostQueueEndpoint string

@description('Address of the host\'s table service.')
param hostTableEndpoint string

@description('Address of the books\' table service.')
param booksTableEndpoint string

@description('Address of the books\' blob service.')
param booksBlobEndpoint string

@description('Address of the key vault.')
param keyVaultUrl string

@description('Name of the administrator\'s key in the vault.')
param adminKeyEntry string

@description('Name of the key of ledger entries in the vault.')
param chainKeyEntry string

@description('Name of the key of pseudonyms in the vault.')
param privacyKeyEntry string

@description('Name of the key that signs anchors.')
param signingKeyName string

@description('URL of a container that gets a copy of each anchor. Empty if there is none.')
param witnessContainerUrl string

@description('Name in the vault of the address that gets each checkpoint. Empty if there is none.')
param witnessUrlEntry string

@description('Directories whose tokens are accepted, comma separated. Empty if none is.')
param entraTenantIds string

@description('The application of Entra ID that stands for the gateway. Empty if tokens are not accepted.')
param entraClientId string

@description('The identity provider.')
param entraAuthority string

@description('Suffixes of hosts that backends may have, comma separated.')
param backendHostSuffixes string

@description('How many proxies before the gateway append to X-Forwarded-For. The platform is one.')
param trustedProxyHops int

@description('Connection string of Application Insights. It is an address and no secret: local authentication is off. Empty for none.')
param applicationInsightsConnection string

@description('Address of a topic of Event Grid that gets all alerts. Empty if there is none.')
param alertTopicEndpoint string = ''

@description('Address of the runbook, to which messages link. Empty if there is none.')
param runbookUrl string = ''

@description('Suffixes of hosts that webhooks for alerts may have. Empty for the gateway\'s own list.')
param alertHosts string = ''

@description('Dollars of all tenants in a month, with which alerts compare. Empty if there is no such limit.')
param platformBudgetUsd string = ''

@description('Further settings, which replace those of the same name.')
param furtherSettings settingSet

var hostSettings = {
  // Never AzureWebJobsStorage itself, not even empty: the host would look for a key in it.
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__blobServiceUri: hostBlobEndpoint
  AzureWebJobsStorage__queueServiceUri: hostQueueEndpoint
  AzureWebJobsStorage__tableServiceUri: hostTableEndpoint
  AzureWebJobsDisableHomepage: 'true'
  PYTHON_ENABLE_OPENTELEMETRY: 'true'
}

var telemetrySettings = empty(applicationInsightsConnection)
  ? {}
  : {
      APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnection
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
    }

var gatewaySettings = {
  AZURE_CLIENT_ID: identityClientId
  TALLYGATE_TABLE_ENDPOINT: booksTableEndpoint
  TALLYGATE_BLOB_ENDPOINT: booksBlobEndpoint
  AZURE_KEY_VAULT_URL: keyVaultUrl
  ADMIN_API_KEY_SECRET_NAME: adminKeyEntry
  AUDIT_CHAIN_KEY_SECRET_NAME: chainKeyEntry
  PRIVACY_KEY_SECRET_NAME: privacyKeyEntry
  AUDIT_SIGNING_KEY_NAME: signingKeyName
  BACKEND_HOST_SUFFIXES: backendHostSuffixes
  TRUSTED_PROXY_HOPS: string(trustedProxyHops)
}

var entraSettings = empty(entraClientId) || empty(entraTenantIds)
  ? {}
  : {
      ENTRA_CLIENT_ID: entraClientId
      ENTRA_TENANT_IDS: entraTenantIds
      ENTRA_AUTHORITY: entraAuthority
    }

var witnessSettings = union(
  empty(witnessContainerUrl) ? {} : { AUDIT_WITNESS_CONTAINER_URL: witnessContainerUrl },
  empty(witnessUrlEntry) ? {} : { AUDIT_WITNESS_URL_SECRET_NAME: witnessUrlEntry }
)

// An empty text is no value for a setting, so that it is not emitted.
var alertSettings = union(
  empty(alertTopicEndpoint) ? {} : { ALERT_EVENT_GRID_ENDPOINT: alertTopicEndpoint },
  empty(runbookUrl) ? {} : { ALERT_RUNBOOK_URL: runbookUrl },
  empty(alertHosts) ? {} : { ALERT_HOST_SUFFIXES: alertHosts },
  empty(platformBudgetUsd) ? {} : { PLATFORM_MONTHLY_BUDGET_USD: platformBudgetUsd }
)

@description('All settings of the app.')
output settings settingSet = union(
  hostSettings,
  telemetrySettings,
  gatewaySettings,
  entraSettings,
  witnessSettings,
  alertSettings,
  furtherSettings
)
