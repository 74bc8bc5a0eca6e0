/** The documents' Python examples, as printed but for host and key. Where an example shows `...`, its own first request stands there. */
import { describe, expect } from '@jest/globals';
import { canRunPython, pythonOutput } from './python-sdk.js';
import { row } from './row.js';
import { type Served, serve } from './served.js';

const describeWithPython = (await canRunPython()) ? describe : describe.skip;

/** The examples print text; one that printed nothing has shown nothing. */
async function printedBy(served: Served, script: string, host: string, key: string): Promise<string> {
  const changed = script.replaceAll(host, served.deployment.baseUrl).replaceAll(key, served.key);
  const output = await pythonOutput(changed, { HOONIFY_API_KEY: served.key });
  expect(output.trim().length).toBeGreaterThan(0);
  return output;
}

describeWithPython("Hunt's Python examples", () => {
  const host = 'https://api.huntcompute.ai';
  const key = 'hunt_sk_live_xxxxxxxxxxxxxxxx';
  const served = serve({ preset: 'hunt', model: 'hunt-llama-3.1-8b', host, keys: [key] });
  const client = `from openai import OpenAI

client = OpenAI(
    base_url="https://api.huntcompute.ai/v1",
    api_key="hunt_sk_live_xxxxxxxxxxxxxxxx",
)
`;

  row('H12', "OpenAI's Python SDK, plain", async () => {
    await printedBy(
      served,
      `${client}
response = client.chat.completions.create(
    model="hunt-llama-3.1-8b",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is ARM architecture?"},
    ],
    temperature=0.7,
    max_tokens=512,
)

print(response.choices[0].message.content)
`,
      host,
      key,
    );
  });

  row('H12', "OpenAI's Python SDK, streaming", async () => {
    await printedBy(
      served,
      `${client}
stream = client.chat.completions.create(
    model="hunt-llama-3.1-8b",
    messages=[{"role": "user", "content": "Tell me a story"}],
    stream=True,
)

for chunk in stream:
    if chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
`,
      host,
      key,
    );
  });
});

describeWithPython("Hoonify AI's Python examples", () => {
  const host = 'https://api.hoonify.ai';
  const key = 'YOUR_API_KEY';
  const served = serve({ preset: 'hoonify-ai', model: 'qwen-3', host, keys: [key], credit: '5' });
  const client = `from openai import OpenAI

client = OpenAI(
    base_url="https://api.hoonify.ai/v1",
    api_key="YOUR_API_KEY"
)
`;

  row('A9', 'quickstart.py', async () => {
    await printedBy(
      served,
      `${client}
response = client.chat.completions.create(
    model="qwen-3",
    messages=[{"role": "user", "content": "Hello!"}]
)

print(response.choices[0].message.content)
`,
      host,
      key,
    );
  });

  row('A3', 'list_models.py', async () => {
    const output = await printedBy(
      served,
      `${client}
models = client.models.list()
for model in models.data:
    print(model.id)
`,
      host,
      key,
    );
    expect(output.trim().split('\n')).toHaveLength(10);
  });

  row('A4', 'streaming.py', async () => {
    await printedBy(
      served,
      `${client}
stream = client.chat.completions.create(
    model="qwen-3",
    messages=[{"role": "user", "content": "Explain quantum entanglement."}],
    stream=True
)

for chunk in stream:
    delta = chunk.choices[0].delta.content
    if delta:
        print(delta, end="", flush=True)
`,
      host,
      key,
    );
  });

  row('A9', 'multi_turn.py', async () => {
    await printedBy(
      served,
      `${client}
messages = [
    {"role": "system", "content": "You are a concise technical assistant."},
    {"role": "user", "content": "What is a transformer model?"},
]

response = client.chat.completions.create(model="qwen-3", messages=messages)
reply = response.choices[0].message.content
messages.append({"role": "assistant", "content": reply})

# Continue the conversation
messages.append({"role": "user", "content": "How is attention used in LLMs?"})
response = client.chat.completions.create(model="qwen-3", messages=messages)
print(response.choices[0].message.content)
`,
      host,
      key,
    );
  });
});

describeWithPython("HiveOps' Python examples", () => {
  const host = 'https://ai.hiveops.io';
  const key = 'sk-YOUR-API-KEY';
  const served = serve({ preset: 'hiveops', model: 'llama3:8b-instruct-q8_0', host, keys: [key], credit: '5' });
  const client = `from openai import OpenAI

client = OpenAI(
    api_key="sk-YOUR-API-KEY",
    base_url="https://ai.hiveops.io"
)
`;

  row('V1 V4', 'the streaming example', async () => {
    await printedBy(
      served,
      `${client}
stream = client.chat.completions.create(
    model="llama3:8b-instruct-q8_0",
    messages=[{"role": "user", "content": "Count to 5"}],
    stream=True
)

for chunk in stream:
    if chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="")
`,
      host,
      key,
    );
  });

  row('V10', 'the JSON mode example', async () => {
    const output = await printedBy(
      served,
      `${client}
response = client.chat.completions.create(
    model="llama3:8b-instruct-q8_0",
    messages=[
        {"role": "system", "content": "You are a helpful assistant that outputs JSON."},
        {"role": "user", "content": "List 3 colors in JSON format."}
    ],
    response_format={"type": "json_object"}
)
print(response.choices[0].message.content)
`,
      host,
      key,
    );
    expect(typeof JSON.parse(output)).toBe('object');
  });

  row('V11', 'the function calling example', async () => {
    await printedBy(
      served,
      `${client}
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather for a location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {
                        "type": "string",
                        "description": "City name, e.g., San Francisco"
                    },
                    "unit": {
                        "type": "string",
                        "enum": ["celsius", "fahrenheit"]
                    }
                },
                "required": ["location"]
            }
        }
    }
]

response = client.chat.completions.create(
    model="llama3:8b-instruct-q8_0",
    messages=[{"role": "user", "content": "What's the weather in Paris?"}],
    tools=tools
)
print(response.choices[0])
`,
      host,
      key,
    );
  });

  row('V9', 'the examples of retries, token counts and a limit', async () => {
    await printedBy(
      served,
      `${client}
messages=[{"role": "user", "content": "Count to 5"}]
import time
from openai import OpenAI, APIError

max_retries = 3
for attempt in range(max_retries):
    try:
        response = client.chat.completions.create(model="llama3:8b-instruct-q8_0", messages=messages)
        break
    except APIError as e:
        if attempt < max_retries - 1:
            time.sleep(2 ** attempt)  # Exponential backoff
        else:
            raise

print(f"Tokens used: {response.usage.total_tokens}")
print(f"Estimated cost: \${response.usage.total_tokens / 1_000_000 * 0.01}")

response = client.chat.completions.create(
    model="llama3:8b-instruct-q8_0",
    messages=messages,
    max_tokens=500  # Limit response length
)
`,
      host,
      key,
    );
  });
});

describeWithPython("Hoonify's two-line migration", () => {
  const host = 'https://api.hoonify.dev';
  const served = serve({ preset: 'hoonify-dev', model: 'llama-3.3-70b', host, keys: [], credit: '50' });

  row('D1', 'the two lines are enough for Python', async () => {
    await printedBy(
      served,
      `import os
from openai import OpenAI
client = OpenAI(
    base_url="https://api.hoonify.dev/v1",
    api_key=os.environ["HOONIFY_API_KEY"],
)
print(client.chat.completions.create(model="llama-3.3-70b", messages=[{"role": "user", "content": "Hello!"}]))
`,
      host,
      'no key is printed',
    );
  });
});
