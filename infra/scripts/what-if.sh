#!/usr/bin/env bash
# Show what the template would change. Nobody who runs it needs the right to change anything.
#
#   infra/scripts/what-if.sh
#
# The variables of azd's environment must be exported: AZURE_ENV_NAME, AZURE_LOCATION, AZURE_SUBSCRIPTION_ID, and those
# of infra/main.parameters.json that differ from their defaults. 'azd provision --preview' needs the rights of a
# provision, because Azure checks them for every resource unless it is told not to.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${AZURE_ENV_NAME:?is the name of the environment}"
: "${AZURE_LOCATION:?is the region of the gateway}"
: "${AZURE_SUBSCRIPTION_ID:?is the subscription of the gateway}"

parameters=$(mktemp)
trap 'rm -f "$parameters"' EXIT
python3 -m infra.hooks.parameters >"$parameters"
az deployment sub what-if --subscription "$AZURE_SUBSCRIPTION_ID" --location "$AZURE_LOCATION" \
  --template-file infra/main.bicep --parameters "@$parameters" --validation-level ProviderNoRbac
