# shellcheck shell=bash
# Functions of the scripts in this folder: values of azd's environment, and a question that must be answered.

# Print a value of azd's environment, which is an output of the template or was set by a person.
azd_value() {
  local value
  value=$(azd env get-value "$1") || {
    echo "azd's environment has no value $1. Select one with 'azd env select', or run 'azd provision'." >&2
    return 1
  }
  printf '%s' "$value"
}

# Run az in the subscription of azd's environment, whichever one az works on now.
az_there() {
  local subscription
  subscription=$(azd_value AZURE_SUBSCRIPTION_ID) || return 1
  az "$@" --subscription "$subscription"
}

# Go on only if the person types exactly this text. TALLYGATE_ANSWER answers where nobody can type.
ask_for() {
  local wanted=$1 question=$2 answer
  echo "$question"
  if [ -n "${TALLYGATE_ANSWER:-}" ]; then
    answer=$TALLYGATE_ANSWER
  else
    read -r -p "Type $wanted to go on: " answer || answer=
  fi
  if [ "$answer" != "$wanted" ]; then
    echo "Nothing was changed." >&2
    return 1
  fi
}

# Wait until the gateway answers /readyz with 200, for READY_SECONDS (600).
await_readiness() {
  local url=$1 deadline=$((SECONDS + ${READY_SECONDS:-600})) status
  while true; do
    status=$(curl -s -o /dev/null -w '%{http_code}' --max-time 30 "$url/readyz" || true)
    [ "$status" = 200 ] && break
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "$url/readyz was answered $status, not 200. It names the checks that fail." >&2
      return 1
    fi
    sleep "${READY_PAUSE_SECONDS:-5}"
  done
  echo "$url is ready."
}
