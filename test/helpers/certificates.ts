import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { inject } from 'vitest';

/** A certificate with its private key, both as PEM text and as files. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TestCertificates {
  /** Signed all the certificates below but `foreignClient`. */
  readonly ca: KeyPair;
  readonly otherCa: KeyPair;
  /** For localhost, 127.0.0.1 and ::1. */
  readonly server: KeyPair;
  /** The key of `server`, encrypted with `passphrase`. */
  readonly encryptedKey: string;
  readonly encryptedKeyFile: string;
  readonly passphrase: string;
  /** For the host names a.test and b.test only: SNI, reload, and "wrong host name". */
  readonly serverA: KeyPair;
  readonly serverB: KeyPair;
  readonly client: KeyPair;
  /** A client certificate of `otherCa`. */
  readonly foreignClient: KeyPair;
  /** A client certificate of `ca` that ended years ago. */
  readonly expiredClient: KeyPair;
}

const run = promisify(execFile);
const passphrase = 'open sesame';
let made: Promise<TestCertificates> | undefined;

/** In CI always, so that a missing tool is a failure there. */
export function hasOpenssl(): boolean {
  return process.env['CI'] === 'true' || spawnSync('openssl', ['version'], { stdio: 'ignore' }).status === 0;
}

/** Makes the certificates with the openssl command, once per process; the files go when all tests are over. */
export function makeCertificates(): Promise<TestCertificates> {
  made ??= make();
  return made;
}

async function make(): Promise<TestCertificates> {
  const folder = mkdtempSync(path.join(inject('folder'), 'certificates-'));
  writeFileSync(path.join(folder, 'ca.cnf'), caConfig(folder));
  const [ca, otherCa] = await Promise.all([makeCa(folder, 'ca'), makeCa(folder, 'other-ca')]);
  const [server, serverA, serverB, client, foreignClient, expiredClient] = await Promise.all([
    sign(folder, 'server', 'ca', 'DNS:localhost,IP:127.0.0.1,IP:::1'),
    sign(folder, 'server-a', 'ca', 'DNS:a.test'),
    sign(folder, 'server-b', 'ca', 'DNS:b.test'),
    sign(folder, 'client', 'ca', 'DNS:client.test'),
    sign(folder, 'foreign-client', 'other-ca', 'DNS:client.test'),
    signExpired(folder, 'expired-client'),
  ]);
  const encryptedKeyFile = path.join(folder, 'encrypted.key');
  await openssl(folder, 'ec', '-in', 'server.key', '-aes256', '-passout', `pass:${passphrase}`, '-out', 'encrypted.key');
  const encryptedKey = readFileSync(encryptedKeyFile, 'utf8');
  return { ca, otherCa, server, encryptedKey, encryptedKeyFile, passphrase, serverA, serverB, client, foreignClient, expiredClient };
}

async function makeCa(folder: string, name: string): Promise<KeyPair> {
  await makeKey(folder, name);
  const self = ['-key', `${name}.key`, '-subj', `/CN=portico test ${name}`, '-config', 'ca.cnf', '-extensions', 'ca_certificate'];
  await openssl(folder, 'req', '-x509', '-new', '-sha256', '-days', '2', ...self, '-out', `${name}.crt`);
  return read(folder, name);
}

async function sign(folder: string, name: string, ca: string, subjectAltName: string): Promise<KeyPair> {
  await request(folder, name);
  writeFileSync(path.join(folder, `${name}.ext`), `basicConstraints=CA:FALSE\nsubjectAltName=${subjectAltName}\n`);
  const signer = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-set_serial', `0x${Buffer.from(name).toString('hex').slice(0, 30)}`];
  await openssl(
    folder,
    'x509',
    '-req',
    '-sha256',
    '-days',
    '2',
    '-in',
    `${name}.csr`,
    ...signer,
    '-extfile',
    `${name}.ext`,
    '-out',
    `${name}.crt`,
  );
  return read(folder, name);
}

/** By `openssl ca`, because `openssl x509` cannot set the dates in every version of OpenSSL that is about. */
async function signExpired(folder: string, name: string): Promise<KeyPair> {
  await request(folder, name);
  writeFileSync(path.join(folder, 'index.txt'), '');
  const dates = ['-startdate', '20200101000000Z', '-enddate', '20210101000000Z'];
  await openssl(folder, 'ca', '-batch', '-notext', '-config', 'ca.cnf', ...dates, '-in', `${name}.csr`, '-out', `${name}.crt`);
  return read(folder, name);
}

async function request(folder: string, name: string): Promise<void> {
  await makeKey(folder, name);
  await openssl(folder, 'req', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}.test`, '-config', 'ca.cnf', '-out', `${name}.csr`);
}

async function makeKey(folder: string, name: string): Promise<void> {
  await openssl(folder, 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`);
}

async function openssl(cwd: string, ...args: string[]): Promise<void> {
  await run('openssl', args, { cwd });
}

function read(folder: string, name: string): KeyPair {
  const certFile = path.join(folder, `${name}.crt`);
  const keyFile = path.join(folder, `${name}.key`);
  return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8'), certFile, keyFile };
}

function caConfig(folder: string): string {
  return `
[req]
distinguished_name = name
[name]
[ca_certificate]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[ca]
default_ca = test_ca
[test_ca]
certificate = ${folder}/ca.crt
private_key = ${folder}/ca.key
database = ${folder}/index.txt
new_certs_dir = ${folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
`;
}
