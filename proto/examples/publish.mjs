// AMQP_URL=... node publish.mjs < save.json        (npm install amqplib)
import amqp from "amqplib";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

const connection = await amqp.connect(process.env.AMQP_URL);
const channel = await connection.createConfirmChannel();
channel.on("return", () => { throw new Error("no queue received the command: has a worker declared the topology?"); });
// Consume before you publish: the reply arrives on this channel.
const reply = new Promise((resolve) =>
  channel.consume("amq.rabbitmq.reply-to", (message) => resolve(message.content), { noAck: true }));
channel.publish("ipack.commands", "save-connector-details.v1", readFileSync(0), {
  messageId: randomUUID(), // keep it for a retry: a command id takes effect only once
  type: "SaveConnectorDetails.v1",
  contentType: "application/json",
  deliveryMode: 2,
  appId: "example-node",
  replyTo: "amq.rabbitmq.reply-to",
  mandatory: true,
});
await channel.waitForConfirms(); // throws unless the command is safe in the queue
const late = setTimeout(() => {
  console.error("confirmed, but no reply yet; a retry with the same id is safe");
  process.exit(1);
}, 10_000);
console.log(JSON.stringify(JSON.parse(await reply), null, 2));
clearTimeout(late);
await connection.close();
