#!/usr/bin/env bash
# Delete the gateway, and leave its books.
#
#   infra/scripts/teardown.sh
#
# Asks first. 'azd provision' makes the gateway again, over the same books and the same key vault.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=infra/scripts/azd-values.sh
. infra/scripts/azd-values.sh

gateway=$(azd_value AZURE_RESOURCE_GROUP)
books=$(azd_value BOOKS_RESOURCE_GROUP)
account=$(azd_value BOOKS_STORAGE_ACCOUNT)
vault=$(azd_value AZURE_KEY_VAULT_ID)
environment=$(azd_value AZURE_ENV_NAME)
client=$(azd env get-value ENTRA_CLIENT_ID 2>/dev/null || true)

if [ "$gateway" = "$books" ]; then
  echo "The books are in the gateway's own group $gateway, so this script deletes nothing." >&2
  exit 1
fi
case ${vault,,} in
  */resourcegroups/"${gateway,,}"/*)
    echo "The key vault is in the group $gateway, which this script would delete with the chain key. Move it first." >&2
    exit 1
    ;;
esac
exists=$(az_there group exists --name "$gateway")
if [ "$exists" != true ]; then
  echo "The group $gateway does not exist: there is nothing to delete."
  exit 0
fi
ask_for "$gateway" "The resource group $gateway is deleted, with everything in it. Callers get no answer any more."
# azd skips a provision if a deployment of the environment had the same template and values: it shall find none.
records=$(az_there deployment sub list --query "[?tags.\"azd-env-name\"=='$environment'].name" --output tsv)
for record in $records; do
  az_there deployment sub delete --name "$record" --output none
done
az_there group delete --name "$gateway" --yes --output none || {
  echo "The group was not deleted. A lock forbids it if the gateway is locked: 'az lock list -g $gateway'." >&2
  exit 1
}
cat <<END
The gateway is deleted. These outlive it:

  - the books: the storage account $account in the group $books. Containers whose immutability policy is locked, and
    so the account, cannot be deleted before their period is over;
  - the key vault $vault, with the keys that prove the books. Purge protection keeps it even if it is deleted;
  - the application ${client:-(none)} in Entra ID: 'az ad app delete --id ${client:-ID}';
  - accounts of Azure OpenAI that the template made, as deleted ones, for 48 hours. Their quota is taken until then;
  - the Log Analytics workspace, as a deleted one, for 14 days;
  - the budget, the policies and the roles of the subscription.
END
