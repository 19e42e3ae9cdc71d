#!/usr/bin/env bash
# Lock the policies of the books' containers: until a file's time has passed, nobody can change or delete it any more.
#
#   infra/scripts/lock-immutability.sh [CONTAINER...]
#
# Without names it takes anchors and chargeback, and backups if the template made their account. It asks for each
# container, whose name must be typed. A locked policy can be extended, but never shortened or removed, and the storage
# account cannot be deleted while it lasts.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=infra/scripts/azd-values.sh
. infra/scripts/azd-values.sh

account=$(azd_value BOOKS_STORAGE_ACCOUNT)
group=$(azd_value BOOKS_RESOURCE_GROUP)
policies=$(azd_value BOOKS_IMMUTABILITY)
copies=$(azd env get-value BACKUP_STORAGE_ACCOUNT 2>/dev/null || true)
profile=$(azd env get-value GATEWAY_PROFILE 2>/dev/null || echo public)

if [ "$profile" = public ] || [ "$policies" = none ]; then
  echo "This environment is a trial (profile $profile, policies $policies). Its books are never locked." >&2
  exit 1
fi

policy() { # COMMAND CONTAINER ARGUMENTS...
  local command=$1 container=$2 of=$account
  shift 2
  [ "$container" != backups ] || of=$copies
  az_there storage container immutability-policy "$command" --account-name "$of" --resource-group "$group" \
    --container-name "$container" "$@" --output tsv
}

if [ $# = 0 ]; then
  set -- anchors chargeback
  [ -z "$copies" ] || set -- "$@" backups
fi
status=0
for container in "$@"; do
  if [ "$container" = backups ] && [ -z "$copies" ]; then
    echo "The template makes no account of backups here: BACKUP_REGION is not set." >&2
    exit 1
  fi
  variable=BOOKS_IMMUTABILITY_WANTED
  [ "$container" != backups ] || variable=BACKUP_IMMUTABILITY_WANTED
  state=$(policy show "$container" --query state)
  days=$(policy show "$container" --query immutabilityPeriodSinceCreationInDays)
  case $state in
    Locked)
      echo "$container is locked already, for $days days."
      [ "$container" != backups ] || azd env set BACKUP_IMMUTABILITY_WANTED locked
      continue
      ;;
    Unlocked) ;;
    *)
      echo "$container has no policy. Provision with $variable=unlocked first." >&2
      status=1
      break
      ;;
  esac
  ask_for "$container" "Each file in $container will stay for $days days, and so will its account. This cannot be undone." || {
    status=1
    break
  }
  policy lock "$container" --if-match "$(policy show "$container" --query etag)" --query state
  [ "$container" != backups ] || azd env set BACKUP_IMMUTABILITY_WANTED locked
done

if [ "$*" = backups ]; then
  [ "$status" != 0 ] || echo "The copies are locked. The template leaves their policy alone from now on (BACKUP_IMMUTABILITY_WANTED=locked)."
  exit "$status"
fi
# The template leaves the policies of both containers alone, or none. So it is told, whatever became of the copies.
locked=0 left=''
for container in anchors chargeback; do
  if [ "$(policy show "$container" --query state)" = Locked ]; then locked=$((locked + 1)); else left=$container; fi
done
[ "$locked" != 0 ] || exit "$status"
if [ "$locked" = 1 ]; then
  echo "$left is not locked yet. Lock it before the next provision, which would fail over the locked policy." >&2
  exit 1
fi
azd env set BOOKS_IMMUTABILITY_WANTED locked
echo "Both are locked. The template leaves their policies alone from now on (BOOKS_IMMUTABILITY_WANTED=locked)."
echo "Where a pipeline or another machine provisions, write 'locked' into infra/main.parameters.json (booksImmutability,"
echo "and backupImmutability if the copies are locked, too)."
exit "$status"
