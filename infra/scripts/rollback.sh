#!/usr/bin/env bash
# Deploy an earlier package again. The books stay as they are: each version reads what its successor writes.
#
#   infra/scripts/rollback.sh FILE              a package and FILE.sha256, for example from a release
#
# Settings and infrastructure are not changed. An earlier version ignores settings that it does not know.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
package=$(realpath "$1")
cd "$(dirname "$0")/../.."
# shellcheck source=infra/scripts/azd-values.sh
. infra/scripts/azd-values.sh

name=$(azd_value GATEWAY_NAME)
ask_for "$name" "The app $name gets the package $package. Requests that it serves now may be cut off."
exec infra/scripts/deploy-package.sh "$package"
