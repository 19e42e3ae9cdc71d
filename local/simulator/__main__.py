"""`python -m local.simulator`: serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys

from aiohttp import web

from local.simulator.server import Pace, Simulator

MODELS = (
    "gpt-4o", "gpt-4o-mini", "o4-mini", "gpt-35-turbo-instruct", "text-embedding-3-small", "text-embedding-3-large",
    "dall-e-3", "gpt-image-1", "whisper", "gpt-4o-transcribe", "tts-hd", "gpt-4o-mini-tts",
)  # fmt: skip
DEFAULT_DEPLOYMENTS = ",".join(f"{model}={model}" for model in MODELS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulated Azure OpenAI. The key is read from SIMULATOR_API_KEY.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--regions", default="swedencentral,eastus,westeurope,japaneast,uksouth")
    parser.add_argument("--deployments", default=DEFAULT_DEPLOYMENTS, help="name=model, comma separated")
    parser.add_argument("--latency-ms", type=float, default=0, help="before the head of every answer")
    parser.add_argument("--tokens-per-second", type=float, default=0, help="pace of streams; 0 is as fast as possible")
    options = parser.parse_args()
    key = os.environ.get("SIMULATOR_API_KEY", "")
    if not key:
        print("SIMULATOR_API_KEY is not set.", file=sys.stderr)
        return 2
    deployments = dict(pair.split("=", 1) for pair in options.deployments.split(","))
    pace = Pace(options.latency_ms, options.tokens_per_second)
    simulator = Simulator(tuple(options.regions.split(",")), deployments, key, pace)
    web.run_app(
        simulator.application(),
        host="127.0.0.1",
        port=options.port,
        print=None,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
