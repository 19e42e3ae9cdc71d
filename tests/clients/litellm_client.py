"""Call the gateway with LiteLLM's SDK: a chat, a stream and embeddings. Prints the answers as JSON.

Its tool calls need the dependencies of its proxy.
"""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

litellm.telemetry = False
azure = {
    "api_base": os.environ["GATEWAY_URL"],
    "api_key": os.environ["GATEWAY_KEY"],
    "api_version": os.environ["API_VERSION"],
}
messages = [{"role": "user", "content": "Hello!"}]
answer = litellm.completion(model="azure/gpt-4o", messages=messages, **azure)
chunks = list(litellm.completion(model="azure/gpt-4o", messages=messages, stream=True, **azure))
embedded = litellm.embedding(model="azure/text-embedding-3-small", input=["one", "two"], dimensions=8, **azure)
print(
    json.dumps(
        {
            "text": answer.choices[0].message.content,
            "tokens": answer.usage.total_tokens,
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
            "dimensions": [len(each["embedding"]) for each in embedded.data],
        }
    )
)
