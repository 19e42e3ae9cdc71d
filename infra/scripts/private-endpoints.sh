#!/usr/bin/env bash
# Private endpoints, private DNS zones and their links, as infra/main.bicep makes them, by plain `az` commands.
# It makes what is missing and changes nothing that exists: run it again after an error, or with further resources.
# With --close it then switches public network access off, but for the app. A test compares it with the Bicep.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: private-endpoints.sh --group NAME --location REGION --network ID --subnet ID [TARGETS] [OPTIONS]
  --group NAME         resource group of the endpoints, and of zones that do not exist yet
  --location REGION    region of the network
  --network ID         resource id of the network whose names the zones resolve
  --subnet ID          resource id of the subnet of private endpoints
Targets, by resource id:
  --books ID           storage account of the books: table and blob
  --host ID            storage account of the Functions host: blob, queue and table
  --vault ID           key vault
  --openai NAME=ID     an Azure OpenAI account and a short name for it; as often as there are accounts
  --app ID             the function app itself
Options:
  --zones-group ID     resource id of the group that holds private DNS zones already, such as that of a hub
  --close              switch public network access of all targets off, except that of the app
TEXT
}

refuse() {
  echo "private-endpoints.sh: $1" >&2
  exit 2
}

group='' location='' network='' subnet='' zones_group='' close=''
books='' host='' vault='' app=''
openai=()
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --close) close=yes; shift; continue ;;
    --group | --location | --network | --subnet | --zones-group | --books | --host | --vault | --app | --openai) ;;
    *) refuse "unknown option $1; see --help" ;;
  esac
  [ $# -ge 2 ] && [ -n "$2" ] || refuse "$1 needs a value"
  case $1 in
    --group) group=$2 ;;
    --location) location=$2 ;;
    --network) network=$2 ;;
    --subnet) subnet=$2 ;;
    --zones-group) zones_group=$2 ;;
    --books) books=$2 ;;
    --host) host=$2 ;;
    --vault) vault=$2 ;;
    --app) app=$2 ;;
    --openai) openai+=("$2") ;;
  esac
  shift 2
done

require() { # NAME VALUE PATTERN
  [[ ${2,,} =~ $3 ]] || refuse "$1 must be a resource id like ...$4"
}
[ -n "$group" ] || refuse "--group is missing"
[ -n "$location" ] || refuse "--location is missing"
require --network "$network" '/providers/microsoft\.network/virtualnetworks/[^/]+$' /providers/Microsoft.Network/virtualNetworks/NAME
require --subnet "$subnet" '/virtualnetworks/[^/]+/subnets/[^/]+$' /virtualNetworks/NAME/subnets/NAME
storage='/providers/microsoft\.storage/storageaccounts/[^/]+$'
[ -z "$books" ] || require --books "$books" "$storage" /providers/Microsoft.Storage/storageAccounts/NAME
[ -z "$host" ] || require --host "$host" "$storage" /providers/Microsoft.Storage/storageAccounts/NAME
[ -z "$vault" ] || require --vault "$vault" '/providers/microsoft\.keyvault/vaults/[^/]+$' /providers/Microsoft.KeyVault/vaults/NAME
[ -z "$app" ] || require --app "$app" '/providers/microsoft\.web/sites/[^/]+$' /providers/Microsoft.Web/sites/NAME
for each in ${openai[@]+"${openai[@]}"}; do
  [[ $each =~ ^[a-z0-9-]+= ]] || refuse "--openai must be NAME=ID, the name of small letters, digits and hyphens"
  require --openai "${each#*=}" '/providers/microsoft\.cognitiveservices/accounts/[^/]+$' /providers/Microsoft.CognitiveServices/accounts/NAME
done
[ -z "$zones_group" ] || require --zones-group "$zones_group" '^/subscriptions/[^/]+/resourcegroups/[^/]+$' /resourceGroups/NAME
[ -n "$books$host$vault$app${openai[*]-}" ] || refuse "name at least one target; see --help"

# The zones of this cloud. Those of models and of apps do not follow from a suffix that az knows.
cloud=$(az cloud show --query name --output tsv)
storage_suffix=$(az cloud show --query suffixes.storageEndpoint --output tsv)
vault_suffix=$(az cloud show --query suffixes.keyvaultDns --output tsv)
case $cloud in
  AzureCloud)
    openai_zones=(privatelink.openai.azure.com privatelink.cognitiveservices.azure.com privatelink.services.ai.azure.com)
    site_zone=privatelink.azurewebsites.net ;;
  AzureUSGovernment)
    openai_zones=(privatelink.openai.azure.us privatelink.cognitiveservices.azure.us)
    site_zone=privatelink.azurewebsites.us ;;
  AzureChinaCloud)
    openai_zones=(privatelink.openai.azure.cn privatelink.cognitiveservices.azure.cn)
    site_zone=privatelink.chinacloudsites.cn ;;
  *) refuse "the cloud $cloud is unknown" ;;
esac
vault_zone=privatelink${vault_suffix/.vault./.vaultcore.}

exists() { # az ARGUMENTS: az ends with 3 if there is no such resource
  local status=0 told
  told=$("$@" --output none 2>&1) || status=$?
  if [ $status -ne 0 ] && [ $status -ne 3 ]; then
    echo "$told" >&2
    exit $status
  fi
  return $status
}

declare -A zone_ids=()
make_zone() { # ZONE: find or make a zone, and link it to the network
  local zone=$1 name linked id
  local scope=(--resource-group "$group")
  [ -z "${zone_ids[$zone]-}" ] || return 0
  if [ -n "$zones_group" ]; then
    scope=(--subscription "$(cut -d/ -f3 <<<"$zones_group")" --resource-group "${zones_group##*/}")
    exists az network private-dns zone show "${scope[@]}" --name "$zone" || refuse "the group of zones has no $zone"
  elif ! exists az network private-dns zone show "${scope[@]}" --name "$zone"; then
    az network private-dns zone create "${scope[@]}" --name "$zone" --output none
  fi
  id=$(az network private-dns zone show "${scope[@]}" --name "$zone" --query id --output tsv)
  # A network is linked to a zone once, under whichever name.
  linked=$(az network private-dns link vnet list "${scope[@]}" --zone-name "$zone" --query '[].virtualNetwork.id' --output tsv)
  if ! grep -qixF "$network" <<<"$linked"; then
    name=link-${network##*/}
    az network private-dns link vnet create "${scope[@]}" --zone-name "$zone" --name "$name" \
      --virtual-network "$network" --registration-enabled false --output none
  fi
  zone_ids[$zone]=$id
}

make_endpoint() { # NAME TARGET GROUP-ID ZONE...: make an endpoint, and keep its address in the zones
  local name=$1 target=$2 group_id=$3 zone known verb
  local endpoint=pe-$name-$group_id
  shift 3
  for zone in "$@"; do make_zone "$zone"; done
  if ! exists az network private-endpoint show --resource-group "$group" --name "$endpoint"; then
    az network private-endpoint create --resource-group "$group" --name "$endpoint" --location "$location" \
      --subnet "$subnet" --nic-name "nic-$name-$group_id" --connection-name "$group_id" \
      --private-connection-resource-id "$target" --group-id "$group_id" --output none
  fi
  verb=create known=''
  if exists az network private-endpoint dns-zone-group show --resource-group "$group" --endpoint-name "$endpoint" --name default; then
    verb=add
    known=$(az network private-endpoint dns-zone-group show --resource-group "$group" --endpoint-name "$endpoint" \
      --name default --query "privateDnsZoneConfigs[].name" --output tsv)
  fi
  for zone in "$@"; do
    if ! grep -qxF "${zone//./-}" <<<"$known"; then
      az network private-endpoint dns-zone-group "$verb" --resource-group "$group" --endpoint-name "$endpoint" \
        --name default --zone-name "${zone//./-}" --private-dns-zone "${zone_ids[$zone]}" --output none
    fi
    verb=add
  done
  echo "$endpoint: ${*}"
}

if [ -n "$books" ]; then
  make_endpoint books "$books" table "privatelink.table.$storage_suffix"
  make_endpoint books "$books" blob "privatelink.blob.$storage_suffix"
fi
if [ -n "$host" ]; then
  make_endpoint host "$host" blob "privatelink.blob.$storage_suffix"
  make_endpoint host "$host" queue "privatelink.queue.$storage_suffix"
  make_endpoint host "$host" table "privatelink.table.$storage_suffix"
fi
[ -z "$vault" ] || make_endpoint vault "$vault" vault "$vault_zone"
for each in ${openai[@]+"${openai[@]}"}; do
  make_endpoint "oai-${each%%=*}" "${each#*=}" account "${openai_zones[@]}"
done
[ -z "$app" ] || make_endpoint app "$app" sites "$site_zone"

# Last, so that nothing is cut off whose endpoint could not be made.
if [ -n "$close" ]; then
  for target in "$books" "$host" "$vault" ${openai[@]+"${openai[@]#*=}"}; do
    [ -z "$target" ] || az resource update --ids "$target" --set properties.publicNetworkAccess=Disabled --output none
  done
  echo "public network access is off"
fi
