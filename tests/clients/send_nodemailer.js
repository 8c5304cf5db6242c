// Mail by nodemailer, over each submission port; reads what `rmail demo --json` printed from standard input, and prints
// what became of each message.
'use strict';
const assert = require('assert');
const fs = require('fs');
const nodemailer = require('nodemailer');

const conf = JSON.parse(fs.readFileSync(0, 'utf8'));
const [alice, bob] = conf.users;

function transport(options) {
    return nodemailer.createTransport({
        host: '127.0.0.1', tls: { rejectUnauthorized: false }, connectionTimeout: 30000,
        auth: { user: alice.address, pass: alice.password }, ...options
    });
}

function mail(subject) {
    return {
        from: { name: 'Älice', address: alice.address }, to: bob.address, subject,
        text: 'grüße\n.\n..dots\n', html: '<p>grüße</p>',
        attachments: [{ filename: 'Maße.bin', content: Buffer.from([0, 13, 10, 255]) }]
    };
}

async function refused(promise, code) {
    const error = await promise.then(() => null, error => error);
    assert(error && error.responseCode === code, `expected ${code}, got ${error}`);
}

async function main() {
    const ways = {
        'STARTTLS': { port: conf.ports.submission, requireTLS: true },
        'implicit TLS': { port: conf.ports.smtps, secure: true },
        'AUTH LOGIN': { port: conf.ports.smtps, secure: true, authMethod: 'LOGIN' },
        'pool': { port: conf.ports.smtps, secure: true, pool: true, maxConnections: 3 }
    };
    for (const [name, options] of Object.entries(ways)) {
        const sender = transport(options);
        await sender.verify();
        const many = name === 'pool' ? 10 : 1;
        const told = await Promise.all(Array.from({ length: many }, () => sender.sendMail(mail(name))));
        for (const one of told) assert.deepStrictEqual(one.rejected, []);
        sender.close();
    }
    const sender = transport(ways['implicit TLS']);
    await sender.sendMail({ ...mail('with a report'), dsn: { id: 'QQ314159', return: 'headers', notify: ['failure', 'delay'], recipient: bob.address } });
    await refused(sender.sendMail({ ...mail('another sender'), from: bob.address }), 550);
    await refused(sender.sendMail({ ...mail('nobody'), to: `nobody@${bob.address.split('@')[1]}` }), 550);
    await refused(transport({ ...ways['implicit TLS'], auth: { user: alice.address, pass: 'wrong' } }).verify(), 535);
    console.log('ok');
}

main().catch(error => { console.error(error); process.exit(1); });
