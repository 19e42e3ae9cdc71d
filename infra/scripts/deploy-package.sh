#!/usr/bin/env bash
# Deploy a package that was built before, and wait until the gateway is ready.
#
#   infra/scripts/deploy-package.sh [FILE]      FILE is dist/gateway.zip, if it is not stated
#
# Its checksum FILE.sha256 lies beside it. A Flex Consumption app gets the package by azd. A premium app reads it from
# its container of packages, where earlier packages stay as versions of the blob.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=infra/scripts/azd-values.sh
. infra/scripts/azd-values.sh

package=${1:-dist/gateway.zip}
[ -f "$package" ] && [ -f "$package.sha256" ] || {
  echo "$package and $package.sha256 are needed. 'make package' writes both." >&2
  exit 2
}
(cd "$(dirname "$package")" && sha256sum --check --quiet "$(basename "$package").sha256")
plan=$(azd_value GATEWAY_PLAN)
url=$(azd_value GATEWAY_URL)

if [ "$plan" = premium ]; then
  packages=$(azd_value PACKAGES_URL)
  name=$(azd_value GATEWAY_NAME)
  group=$(azd_value AZURE_RESOURCE_GROUP)
  az_there storage blob upload --blob-url "$packages/gateway.zip" --file "$package" --auth-mode login --overwrite true \
    --output none
  az_there functionapp restart --name "$name" --resource-group "$group" --output none
else
  TALLYGATE_PACKAGE=$package azd deploy gateway --from-package "$package" --no-prompt
fi
if [ "$(azd_value GATEWAY_IS_PRIVATE)" = true ] && [ -z "${READY_SECONDS:-}" ]; then
  echo "The gateway is private. Inside its network, look at $url/readyz."
else
  await_readiness "$url"
fi
