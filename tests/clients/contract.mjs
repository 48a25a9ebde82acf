// The contract in the eyes of AsyncAPI's own parser and of a validator of JSON Schema:
// node contract.mjs PROTO_FOLDER MESSAGES_FILE

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Parser, fromFile } from '@asyncapi/parser'
import Ajv from 'ajv'
import formats from 'ajv-formats'

const [proto, messages] = process.argv.slice(2)
const read = path => JSON.parse(readFileSync(path, 'utf8'))
const errors = []

const { document, diagnostics } = await fromFile(new Parser(), join(proto, 'asyncapi.yaml')).parse()
for (const { code, message, severity, path } of diagnostics) {
  // 0 and 1: errors and warnings. What is left are hints.
  if (severity < 2) errors.push(`asyncapi.yaml ${path.join('.')}: ${code}: ${message}`)
}
const named = document?.allMessages().all().map(message => message.name()) ?? []
for (const name of [
  'SaveConnectorDetails.v1', 'DeleteConnectorDetails.v1', 'SaveConnectorDetailsReply.v1',
  'DeleteConnectorDetailsReply.v1', 'SaveConnectorDetailsReplies.v1', 'Parked'
]) {
  if (!named.includes(name)) errors.push(`asyncapi.yaml has no message ${name}`)
}

const ajv = formats(new Ajv({ strict: true, strictTypes: false, allErrors: true }))
ajv.addFormat('int64', Number.isSafeInteger)
const validator = name => ajv.compile(read(join(proto, 'schemas', `${name}.json`)))
const [SAVE, DELETE] = ['SaveConnectorDetails', 'DeleteConnectorDetails']
const commands = { [`${SAVE}.v1`]: validator(`${SAVE}.v1`), [`${DELETE}.v1`]: validator(`${DELETE}.v1`) }
const [reply, deleteReply] = [validator(`${SAVE}Reply.v1`), validator(`${DELETE}Reply.v1`)]
const replies = validator(`${SAVE}Replies.v1`)
const events = {
  'connector-details.saved.v1': validator('ConnectorDetailsSaved.v1'),
  'connector-details.deleted.v1': validator('ConnectorDetailsDeleted.v1')
}
const check = (validate, value, what) => {
  if (!validate(value)) errors.push(`${what}: ${ajv.errorsText(validate.errors)}`)
}

const { messages: played, packs } = read(messages)
for (const { name, golden, answer, event } of played) {
  const expected = golden.schemaAccepts
  const type = golden.properties.type
  const command = commands[type] ?? commands[`${SAVE}.v1`]
  if (expected !== undefined && command(golden.body) !== expected) {
    errors.push(`${name}: the schema ${expected ? 'refuses' : 'accepts'} it.`)
  }
  check(type === `${DELETE}.v1` ? deleteReply : reply, answer, `the answer to ${name}`)
  // Whoever read deletions by the schema of saves may go on doing so.
  check(reply, answer, `the answer to ${name} as a reply to a save`)
  check(replies, [{ correlationId: 'x', reply: answer }], `the answer to ${name} in a pack`)
  if (event) check(events[`connector-details.${answer.outcome}.v1`], event, `the event of ${name}`)
  if (golden.event) check(events[golden.event.routingKey], golden.event.body, `the golden event of ${name}`)
}
for (const pack of packs) check(replies, pack, 'a pack')
if (reply({ commandId: null, outcome: 'saved' })) errors.push('The schema takes a saved without its record.')
const saved = played.find(({ answer }) => answer.outcome === 'saved')
if (deleteReply(saved.answer)) errors.push('The schema of replies to deletions takes a saved.')

console.log(errors.length ? errors.join('\n') : 'the contract is valid')
process.exit(errors.length ? 1 : 0)
