// A round trip with imapflow; reads what `rmail demo --json` printed from standard input.
'use strict';
const assert = require('assert');
const fs = require('fs');
const net = require('net');
const { ImapFlow } = require('imapflow');

const conf = JSON.parse(fs.readFileSync(0, 'utf8'));
const alice = conf.users[0];
const MAILBOX = 'Ärger & Freude/日本語';

function mail(subject) {
    return Buffer.from([
        `From: =?utf-8?q?=C3=84lice?= <${alice.address}>`, `To: ${conf.users[1].address}`, `Subject: ${subject}`,
        'MIME-Version: 1.0', 'Content-Type: multipart/mixed; boundary="=_b"', '', '--=_b',
        'Content-Type: text/plain; charset=utf-8', 'Content-Transfer-Encoding: 8bit', '', 'grüße', '--=_b',
        'Content-Type: application/octet-stream', 'Content-Transfer-Encoding: base64',
        "Content-Disposition: attachment; filename*=utf-8''Ma%C3%9Fe.bin", '', 'AAEC', '--=_b--', ''
    ].join('\r\n'));
}

// A message from outside, with as much SMTP as that needs.
function deliver(subject) {
    return new Promise((resolve, reject) => {
        const lines = ['EHLO client.test', 'MAIL FROM:<stranger@elsewhere.test>', `RCPT TO:<${alice.address}>`, 'DATA',
            `Subject: ${subject}\r\n\r\nx\r\n.`, 'QUIT'];
        const socket = net.connect(conf.ports.smtp, '127.0.0.1');
        let seen = '';
        socket.on('error', reject).on('close', resolve);
        socket.on('data', data => {
            seen += data;
            if (/^\d{3} [^\n]*\n$/m.test(seen.split(/(?<=\n)/).pop() || '') && lines.length) {
                seen = '';
                socket.write(lines.shift() + '\r\n');
            }
        });
    });
}

async function trip() {
    const box = new ImapFlow({
        host: '127.0.0.1', port: conf.ports.imaps, secure: true, tls: { rejectUnauthorized: false }, logger: false,
        auth: { user: alice.address, pass: alice.password }
    });
    await box.connect();
    const made = await box.mailboxCreate(MAILBOX);
    assert.strictEqual(made.created, true);
    await box.mailboxSubscribe(MAILBOX);
    const listed = await box.list();
    assert(listed.some(entry => entry.path === MAILBOX && entry.subscribed), 'the mailbox is listed as subscribed');
    assert(listed.some(entry => entry.specialUse === '\\Sent'));
    for (let n = 0; n < 4; n++) {
        const told = await box.append(MAILBOX, mail(`number ${n}`), n ? [] : ['\\Flagged', '$Work'], new Date(1e12));
        assert.strictEqual(told.uid, n + 1);
    }
    let lock = await box.getMailboxLock(MAILBOX);
    try {
        assert.strictEqual(box.mailbox.exists, 4);
        const one = await box.fetchOne('1', { envelope: true, bodyStructure: true, flags: true, source: true, internalDate: true, size: true });
        assert(one.source.equals(mail('number 0')), 'the message comes back as it went');
        assert.strictEqual(one.envelope.subject, 'number 0');
        assert.deepStrictEqual(one.envelope.from, [{ name: 'Älice', address: alice.address }]);
        assert.strictEqual(one.bodyStructure.childNodes.length, 2);
        assert.strictEqual(one.bodyStructure.childNodes[1].dispositionParameters.filename, 'Maße.bin');
        assert.deepStrictEqual([...one.flags].filter(flag => flag !== '\\Recent').sort(), ['$Work', '\\Flagged']);
        assert.strictEqual(one.internalDate.getTime(), 1e12);
        const part = await box.download('1', '1');
        let text = '';
        for await (const piece of part.content) text += piece;
        assert.strictEqual(text.trim(), 'grüße');
        await box.messageFlagsAdd('2', ['\\Seen', '$Later']);
        await box.messageFlagsRemove('1', ['$Work']);
        assert.deepStrictEqual(await box.search({ seen: true }), [2]);
        assert.deepStrictEqual(await box.search({ subject: 'number 3' }, { uid: true }), [4]);
        assert.deepStrictEqual(await box.search({ body: 'grüße' }, { uid: true }), [1, 2, 3, 4]);
        const copied = await box.messageCopy('1:2', 'Archive');
        assert.strictEqual(copied.uidMap.size, 2);
        const moved = await box.messageMove('3', 'Trash', { uid: true });
        assert.strictEqual(moved.uidMap.size, 1);
        await box.messageDelete('4', { uid: true });
        assert.deepStrictEqual(await box.search({ all: true }, { uid: true }), [1, 2]);
    } finally {
        lock.release();
    }
    const status = await box.status('Archive', { messages: true, uidNext: true, unseen: true });
    assert.strictEqual(status.messages, 2);
    lock = await box.getMailboxLock('INBOX');
    try {
        const before = box.mailbox.exists;
        const told = new Promise(resolve => box.on('exists', resolve));
        const idle = box.idle();
        await deliver('pushed');
        assert.strictEqual((await told).count, before + 1);
        await box.noop();
        await idle;
    } finally {
        lock.release();
    }
    await box.mailboxRename(MAILBOX, 'Renamed/Straße');
    await box.mailboxDelete('Renamed/Straße');
    assert(!(await box.list()).some(entry => entry.path === 'Renamed/Straße'));
    await box.logout();
    console.log('ok');
}

setTimeout(() => { console.error('more than a minute'); process.exit(1); }, 60000).unref();
trip().catch(error => { console.error(error); process.exit(1); });
