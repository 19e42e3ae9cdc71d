#!/usr/bin/env bash
# Make a storage account for backups in a second region. It may be run again at any time.
#
#   infra/scripts/backup-account.sh GROUP ACCOUNT REGION [PRINCIPAL]
#
# PRINCIPAL is the object id of the pipeline that writes backups. The account has no keys. A blob that was written is
# kept for BACKUP_RETENTION_DAYS (400), whoever asks to delete it.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
group=$1 account=$2 region=$3 principal=${4:-}

az group create --name "$group" --location "$region" --output none
az storage account create --name "$account" --resource-group "$group" --location "$region" --kind StorageV2 \
  --sku Standard_ZRS --min-tls-version TLS1_2 --https-only true --allow-blob-public-access false \
  --allow-shared-key-access false --output none
az storage account blob-service-properties update --account-name "$account" --resource-group "$group" \
  --enable-versioning true --enable-delete-retention true --delete-retention-days 30 --output none
az storage container-rm create --storage-account "$account" --resource-group "$group" --name backups --output none
state=$(az storage container immutability-policy show --account-name "$account" --resource-group "$group" \
  --container-name backups --query state --output tsv 2>/dev/null || true)
if [ "$state" != Locked ]; then
  az storage container immutability-policy create --account-name "$account" --resource-group "$group" \
    --container-name backups --period "${BACKUP_RETENTION_DAYS:-400}" --output none
fi
id=$(az storage account show --name "$account" --resource-group "$group" --query id --output tsv)
if [ -n "$principal" ]; then
  az role assignment create --assignee-object-id "$principal" --assignee-principal-type ServicePrincipal \
    --role ba92f5b4-2d11-453d-a403-e96b0029c9fe --scope "$id/blobServices/default/containers/backups" --output none
fi
echo "Backups go to https://$account.blob.${AZURE_STORAGE_SUFFIX:-core.windows.net}/backups"
