"""Call the gateway with LlamaIndex: a chat, a stream and embeddings. Prints the answers as JSON."""

import json
import os

from llama_index.core.llms import ChatMessage
from llama_index.embeddings.azure_openai import AzureOpenAIEmbedding
from llama_index.llms.azure_openai import AzureOpenAI

azure = {
    "azure_endpoint": os.environ["GATEWAY_URL"],
    "api_key": os.environ["GATEWAY_KEY"],
    "api_version": os.environ["API_VERSION"],
}
llm = AzureOpenAI(engine="gpt-4o", model="gpt-4o", temperature=0, **azure)
messages = [ChatMessage(role="user", content="Hello!")]
answer = llm.chat(messages)
streamed = list(llm.stream_chat(messages))
embedding = AzureOpenAIEmbedding(
    deployment_name="text-embedding-3-small", model="text-embedding-3-small", dimensions=8, **azure
)
vectors = embedding.get_text_embedding_batch(["one", "two"])
print(
    json.dumps(
        {
            "text": answer.message.content,
            "tokens": answer.raw.usage.total_tokens,
            "streamed": streamed[-1].message.content,
            "dimensions": [len(vector) for vector in vectors],
        }
    )
)
