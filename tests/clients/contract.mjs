// The contract in the eyes of AsyncAPI's own parser and of a validator of JSON Schema:
// node contract.mjs PROTO_FOLDER MESSAGES_FILE

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Parser, fromFile } from '@asyncapi/parser'
import Ajv from 'ajv'
import formats from 'ajv-formats'

const [proto, messages] = process.argv.slice(2)
const read = path => JSON.parse(readFileSync(path, 'utf8'))
const faults = []

const { document, diagnostics } = await fromFile(new Parser(), join(proto, 'asyncapi.yaml')).parse()
for (const { code, message, severity, path } of diagnostics) {
  // 0 and 1: errors and warnings. What is left are hints.
  if (severity < 2) faults.push(`asyncapi.yaml ${path.join('.')}: ${code}: ${message}`)
}
const named = document?.allMessages().all().map(message => message.name()) ?? []
for (const name of ['SaveConnectorDetails.v1', 'DeleteConnectorDetails.v1', 'SaveConnectorDetailsReply.v1']) {
  if (!named.includes(name)) faults.push(`asyncapi.yaml has no message ${name}`)
}

const ajv = formats(new Ajv({ strict: true, strictTypes: false, allErrors: true }))
ajv.addFormat('int64', Number.isSafeInteger)
const validator = name => ajv.compile(read(join(proto, 'schemas', `${name}.json`)))
const commands = {
  'SaveConnectorDetails.v1': validator('SaveConnectorDetails.v1'),
  'DeleteConnectorDetails.v1': validator('DeleteConnectorDetails.v1')
}
const reply = validator('SaveConnectorDetailsReply.v1')
const replies = validator('SaveConnectorDetailsReplies.v1')

for (const { golden, answer } of read(messages)) {
  const expected = golden.schemaAccepts
  const command = commands[golden.properties.type] ?? commands['SaveConnectorDetails.v1']
  if (expected !== undefined && command(golden.body) !== expected) {
    faults.push(`${golden.description} The schema ${expected ? 'refuses' : 'accepts'} it.`)
  }
  if (!reply(answer)) faults.push(`An answer is no reply: ${ajv.errorsText(reply.errors)}`)
  if (!replies([{ correlationId: 'x', reply: answer }])) faults.push(ajv.errorsText(replies.errors))
}
if (reply({ commandId: null, outcome: 'saved' })) faults.push('The schema takes a saved without its record.')

console.log(faults.length ? faults.join('\n') : 'the contract is valid')
process.exit(faults.length ? 1 : 0)
