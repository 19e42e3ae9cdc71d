"""Call the gateway with LangChain: a chat, a stream, a tool call and embeddings. Prints the answers as JSON."""

import json
import os

from langchain_openai import AzureChatOpenAI, AzureOpenAIEmbeddings

azure = {
    "azure_endpoint": os.environ["GATEWAY_URL"],
    "api_key": os.environ["GATEWAY_KEY"],
    "api_version": os.environ["API_VERSION"],
}
chat = AzureChatOpenAI(azure_deployment="gpt-4o", **azure)
answer = chat.invoke("Hello!")
chunks = list(chat.stream("Hello!"))
tool = {"type": "function", "function": {"name": "answer", "description": "x", "parameters": {"type": "object"}}}
called = chat.bind_tools([tool]).invoke("Hello!")
embeddings = AzureOpenAIEmbeddings(
    azure_deployment="text-embedding-3-small", check_embedding_ctx_length=False, dimensions=8, **azure
)
vectors = embeddings.embed_documents(["one", "two"])
print(
    json.dumps(
        {
            "text": answer.content,
            "tokens": answer.usage_metadata["total_tokens"],
            "streamed": "".join(chunk.content for chunk in chunks),
            "tool": called.tool_calls[0]["name"],
            "dimensions": [len(vector) for vector in vectors],
        }
    )
)
