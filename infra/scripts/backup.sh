#!/usr/bin/env bash
# Back up the books to the container of another storage account, best in a second region.
#
#   infra/scripts/backup.sh [PERIOD...]         a period is a month, YYYY-MM; by default this one and the one before
#
# BACKUP_CONTAINER_URL is the container. The settings of the gateway name the books (docs/reference/configuration.md).
# Each file is verified before it is sent. A blob of that name is never overwritten.
set -euo pipefail
: "${BACKUP_CONTAINER_URL:?is the address of the container of backups}"
root=$(cd "$(dirname "$0")/../.." && pwd)
tallygate=${TALLYGATE:-$root/.venv/bin/tallygate}

if [ $# = 0 ]; then
  this=$(date -u +%Y-%m)
  set -- "$(date -u -d "$this-01 - 1 day" +%Y-%m)" "$this"
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
at=$(date -u +%Y%m%dT%H%M%SZ)
for period in "$@"; do
  file=$folder/$period.gz
  "$tallygate" backup --period "$period" --file "$file"
  "$tallygate" verify --archive "$file"
  (cd "$folder" && sha256sum "$period.gz" >"$period.gz.sha256")
  for part in "$period.gz" "$period.gz.sha256"; do
    az storage blob upload --blob-url "${BACKUP_CONTAINER_URL%/}/$period/$at/$part" --file "$folder/$part" \
      --auth-mode login --overwrite false --no-progress --output none
  done
  echo "Backup of $period: ${BACKUP_CONTAINER_URL%/}/$period/$at/$period.gz"
done
