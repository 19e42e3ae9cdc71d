// Call the gateway with the official Node SDK: every operation, on the named path. Prints the answers as JSON.
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENTS}/package.json`);
const { default: OpenAI, AzureOpenAI } = require("openai");
const { GATEWAY_URL, GATEWAY_KEY, GATEWAY_TOKEN, API_VERSION, SOUND, FAMILY } = process.env;
// @azure/identity returns such a function from getBearerTokenProvider.
const provider = GATEWAY_TOKEN && (async () => GATEWAY_TOKEN);
const credential = provider ? { azureADTokenProvider: provider } : { apiKey: GATEWAY_KEY };
const client =
  FAMILY === "v1"
    ? new OpenAI({ baseURL: `${GATEWAY_URL}/openai/v1`, apiKey: provider ?? GATEWAY_KEY })
    : new AzureOpenAI({ endpoint: GATEWAY_URL, apiVersion: API_VERSION, ...credential });
const messages = [{ role: "user", content: "Hello!" }];
const got = {};

async function texts(stream, textOf) {
  let text = "";
  for await (const event of stream) text += textOf(event) ?? "";
  return text;
}

const answer = await client.chat.completions.create({ model: "gpt-4o", messages });
got.text = answer.choices[0].message.content;
got.tokens = answer.usage.total_tokens;
const stream = await client.chat.completions.create({ model: "gpt-4o", messages, stream: true });
got.streamed = await texts(stream, (chunk) => chunk.choices[0]?.delta?.content);
const legacy = await client.completions.create({ model: "gpt-35-turbo-instruct", prompt: "Once", stream: true });
got.completion = await texts(legacy, (chunk) => chunk.choices[0]?.text);
const embedded = await client.embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"], dimensions: 8 });
got.dimensions = embedded.data.map((each) => each.embedding.length);
got.images = (await client.images.generate({ model: "dall-e-3", prompt: "A fox" })).data.length;
got.transcript = (await client.audio.transcriptions.create({ model: "whisper", file: createReadStream(SOUND) })).text;
got.translation = (await client.audio.translations.create({ model: "whisper", file: createReadStream(SOUND) })).text;
const speech = await client.audio.speech.create({ model: "tts-hd", input: "Hello there", voice: "alloy" });
got.spoken = (await speech.arrayBuffer()).byteLength;
const response = await client.responses.create({ model: "gpt-4o", input: "Hello!" });
got.response = response.output_text;
const events = await client.responses.create({ model: "gpt-4o", input: "Hello!", stream: true });
got.responseStreamed = await texts(events, (event) => (event.type === "response.output_text.delta" ? event.delta : ""));
got.retrieved = (await client.responses.retrieve(response.id)).output_text;
const items = await client.responses.inputItems.list(response.id);
got.items = items.data.length;
await client.responses.delete(response.id);
try {
  await client.responses.retrieve(response.id);
} catch (error) {
  got.deleted = error.status;
}
const background = await client.responses.create({ model: "gpt-4o", input: "Long", background: true });
got.cancelled = (await client.responses.cancel(background.id)).status;
got.models = (await client.models.list()).data.length;
console.log(JSON.stringify(got));
