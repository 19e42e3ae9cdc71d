// Types that the template and its modules share.

@export()
@description('Tags of resources, by name.')
type tagSet = {
  *: string
}

@export()
@description('Settings of an app, by name.')
type settingSet = {
  *: string
}

@export()
@description('Resource ids of private DNS zones, by the name of the zone.')
type zoneIdSet = {
  *: string
}

@export()
@description('The kind of a principal of Entra ID.')
type principalKind = 'User' | 'Group' | 'ServicePrincipal'

@export()
@description('One role of one principal. The module that gets it decides on the scope.')
type access = {
  @description('Object id of the principal.')
  principalId: string

  @description('The kind of the principal.')
  principalType: principalKind

  @description('The GUID of the role, from roles.json.')
  role: string
}

@export()
@description('A person, group or pipeline, and the duty from which its roles follow.')
type person = {
  @description('Object id of the principal.')
  principalId: string

  @description('The kind of the principal.')
  principalType: principalKind

  @description('operator: metrics, logs, secrets and books. auditor: books, anchors and statements. accountant: statements and costs. pipeline: deploys the package.')
  duty: 'operator' | 'auditor' | 'accountant' | 'pipeline'
}

@export()
@description('One filter of a content filter policy.')
type contentFilter = {
  @description('What is filtered, such as Hate, Sexual, Violence, Selfharm or Jailbreak.')
  name: string

  @description('The text to which the filter applies.')
  source: 'Prompt' | 'Completion'

  @description('Severity from which the filter acts. Absent for filters that know no severity.')
  severityThreshold: ('Low' | 'Medium' | 'High')?

  @description('Refuse what is found, instead of annotating it only.')
  blocking: bool

  @description('Whether the filter is on.')
  enabled: bool
}

@export()
@description('A content filter policy, which is created in each new account.')
type contentFilterPolicy = {
  @description('Name by which deployments refer to the policy.')
  name: string

  @description('How streams are filtered.')
  mode: 'Default' | 'Deferred' | 'Blocking' | 'Asynchronous_filter'

  @description('The policy on which this one builds.')
  basePolicyName: string

  @description('Filters that differ from those of the base policy.')
  filters: contentFilter[]
}

@export()
@description('A deployment of a model in an account.')
type modelDeployment = {
  @description('Name of the deployment: small letters, digits and hyphens.')
  @minLength(2)
  @maxLength(40)
  name: string

  @description('Name of the model.')
  model: string

  @description('Version of the model.')
  version: string

  @description('Format of the model: OpenAI unless it is stated.')
  format: string?

  @description('Deployment type, such as Standard, DataZoneStandard, GlobalStandard or ProvisionedManaged.')
  sku: string

  @description('Thousands of tokens a minute, or units of a provisioned deployment.')
  @minValue(1)
  capacity: int

  @description('Name of a content filter policy.')
  contentFilter: string?

  @description('The deployment of the same account to which Azure sends what this provisioned one cannot take.')
  spilloverDeploymentName: string?

  @description('When Azure may replace the version: NoAutoUpgrade unless it is stated, because the version selects the price.')
  versionUpgradeOption: ('NoAutoUpgrade' | 'OnceCurrentVersionExpired' | 'OnceNewDefaultVersionAvailable')?
}

@export()
@description('An Azure OpenAI account, new or existing.')
type openAiAccount = {
  @description('Short name; it begins the ids of the backends.')
  @minLength(2)
  @maxLength(20)
  name: string

  @description('Region of a new account, which is left out without one. That of an existing account is read from it.')
  location: string

  @description('Resource id of an account that exists. It gets roles and private endpoints, but no deployments.')
  existingResourceId: string?

  @description('Kind of a new account: OpenAI unless it is stated.')
  kind: ('OpenAI' | 'AIServices')?

  @description('The deployments that the gateway uses.')
  deployments: modelDeployment[]
}

@export()
@description('The deployment that serves what a provisioned one cannot take, as the management API states it.')
type spillover = {
  @description('Name of the deployment.')
  deployment: string

  @description('Its deployment type.')
  sku: string

  @description('Its model.')
  model: string

  @description('The version of its model.')
  model_version: string
}

@export()
@description('A backend of the gateway.')
type backend = {
  @description('Id of the backend.')
  id: string

  @description('Address of the account.')
  endpoint: string

  @description('Region of the account.')
  region: string

  @description('Deployment type.')
  sku: string

  @description('Name of the deployment in the account.')
  deployment: string

  @description('Name of the model.')
  model: string

  @description('Version of the model.')
  version: string

  @description('The deployment to which Azure sends what this one cannot take.')
  spillover_deployment: spillover?
}

@export()
@description('An always-ready group of Flex Consumption: http, or function:NAME of a timer.')
type alwaysReadyGroup = {
  @description('Name of the group.')
  name: string

  @description('Instances that are always ready.')
  instanceCount: int
}

@export()
@description('One group of a private endpoint, and the zones that resolve its names.')
type endpointGroup = {
  @description('Sub-resource of the target, such as blob, vault, account or sites.')
  groupId: string

  @description('Names of the private DNS zones.')
  zones: string[]
}
