#!/usr/bin/env bash
# Prove that a backup can be restored: restore it into an empty account of its own, verify it there, and delete that.
#
#   infra/scripts/restore-drill.sh PERIOD REGION
#
# BACKUP_CONTAINER_URL is the container of backups. The chain keys of the settings check the macs
# (docs/reference/configuration.md). Nothing is read from the gateway's own books, and nothing is written to them.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
: "${BACKUP_CONTAINER_URL:?is the address of the container of backups}"
period=$1 region=$2
BACKUP_CONTAINER_URL=${BACKUP_CONTAINER_URL%/}
root=$(cd "$(dirname "$0")/../.." && pwd)
tallygate=${TALLYGATE:-$root/.venv/bin/tallygate}
began=$SECONDS
suffix=$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
group=rg-tallygate-drill-$suffix account=tgdrill$suffix
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT # a copy of the ledger must not stay behind
end() {
  rm -rf "$folder"
  az group delete --name "$group" --yes --no-wait --output none || echo "Delete the group $group by hand." >&2
}

host=${BACKUP_CONTAINER_URL#https://}
backups=${host%%.*} container=${BACKUP_CONTAINER_URL##*/}
newest=$(az storage blob list --account-name "$backups" --container-name "$container" --prefix "$period/" \
  --auth-mode login --query "max([?ends_with(name, '.gz')].name)" --output tsv)
[ -n "$newest" ] || { echo "There is no backup of $period in $BACKUP_CONTAINER_URL." >&2; exit 1; }
for part in "$newest" "$newest.sha256"; do
  az storage blob download --blob-url "$BACKUP_CONTAINER_URL/$part" --file "$folder/$(basename "$part")" \
    --auth-mode login --no-progress --output none
done
(cd "$folder" && sha256sum --check --quiet ./*.sha256)
"$tallygate" verify --archive "$folder/$period.gz"

trap end EXIT
az group create --name "$group" --location "$region" --output none
az storage account create --name "$account" --resource-group "$group" --location "$region" --kind StorageV2 \
  --sku Standard_LRS --min-tls-version TLS1_2 --allow-blob-public-access false --allow-shared-key-access false \
  --output none
id=$(az storage account show --name "$account" --resource-group "$group" --query id --output tsv)
me=${DRILL_PRINCIPAL_ID:-$(az ad signed-in-user show --query id --output tsv)}
for role in 0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3 ba92f5b4-2d11-453d-a403-e96b0029c9fe; do
  az role assignment create --assignee-object-id "$me" --assignee-principal-type "${DRILL_PRINCIPAL_TYPE:-User}" \
    --role "$role" --scope "$id" --output none
done
TALLYGATE_TABLE_ENDPOINT=$(az storage account show --ids "$id" --query primaryEndpoints.table --output tsv)
TALLYGATE_BLOB_ENDPOINT=$(az storage account show --ids "$id" --query primaryEndpoints.blob --output tsv)
export TALLYGATE_TABLE_ENDPOINT=${TALLYGATE_TABLE_ENDPOINT%/} TALLYGATE_BLOB_ENDPOINT=${TALLYGATE_BLOB_ENDPOINT%/}

# New roles hold after some minutes. A restore can be repeated.
for attempt in $(seq "${DRILL_ATTEMPTS:-20}"); do
  "$tallygate" restore --file "$folder/$period.gz" && break
  [ "$attempt" != "${DRILL_ATTEMPTS:-20}" ] || { echo "The backup could not be restored." >&2; exit 1; }
  sleep "${DRILL_PAUSE_SECONDS:-30}"
done
"$tallygate" verify --period "$period"
echo "The backup $newest was restored and verified in $(((SECONDS - began + 59) / 60)) minutes."
