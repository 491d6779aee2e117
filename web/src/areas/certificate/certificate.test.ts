import { expect, it } from 'vitest'
import { check, qrPath, read, withNames } from './certificate'

// The example of docs/reference/certificates.md, signed by another implementation.
const KEY = { key: 'ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=', id: '56475aa75463474c' }
const TEXT = 'AL1.NTY0NzVhYTc1NDYzNDc0YwpsaWNlbmNlCjE3ClhLLTUzMDQwMi0yMDI2LTAwMDAxCjIwMjYtMTEtMjlUMDE6MDI6MDNaCjIwMjktMDItMjgKOTE1MzA0MDBNQTZLMDAwMVhYCm93bmVyPeiZmuaehOefv-S4muaciemZkOWFrOWPuApsaWNlbmNlPemdnueFpOefv-efv-WxseS8geS4muWuieWFqOeUn-S6p-iuuOWPr-ivgQpjZXJ0aWZpY2F0ZV9ubz3mu4dGTeWuieiuuOivgeWtl-OAlDIwMjbjgJUwMDAxCnNjb3Blfuefs-eBsOWyqemcsuWkqeW8gOmHhwppc3N1ZWRfb249MjAyNi0wMy0wMQp2YWxpZF9mcm9tPTIwMjYtMDMtMDEKdmFsaWRfdW50aWw9MjAyOS0wMi0yOA.6rQwkZYZsnshFnyAvQFn5V_Tb9Ez4ETwVq07CnBpJmoczwHVz_xke3Qktviljn5ge5_sstm4O9sGXfK2lq66Aw'
const base64url = (text: string) => btoa(String.fromCharCode(...new TextEncoder().encode(text))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
const LINES = new TextDecoder().decode(read(TEXT)!.lines)
const SIGNATURE = TEXT.split('.')[2]!
/** The signature over other lines. */
const forged = (lines: string) => read(`AL1.${base64url(lines)}.${SIGNATURE}`)

it('reads_what_a_certificate_says_from_a_text_or_an_address', () => {
  for (const text of [TEXT, `https://anlan.example.cn/verify#${TEXT}`, ` ${TEXT.slice(0, 40)}\n${TEXT.slice(40)} `]) {
    const says = read(text)!.says
    expect(says).toMatchObject({ key: KEY.id, kind: 'licence', record: '17', number: 'XK-530402-2026-00001', until: '2029-02-28', code: '91530400MA6K0001XX', owner: { text: '虚构矿业有限公司', cut: false } })
    expect(says.fields.map((f) => [f.id, f.value.cut])).toEqual([['licence', false], ['certificate_no', false], ['scope', true], ['issued_on', false], ['valid_from', false], ['valid_until', false]])
  }
})
it('refuses_what_is_no_certificate', () => {
  for (const text of ['', 'x', 'AL1..', 'AL1.AAAA.AAAA', TEXT.replace('AL1', 'AL2'), `${TEXT}.x`, TEXT.slice(0, -2), 'A'.repeat(9000)]) expect(read(text), text).toBeNull()
  for (const lines of [LINES.replace('owner=', 'owner'), LINES.replace('2029-02-28\n', 'x\n'), LINES.replace(KEY.id, 'x'), LINES.split('\n').slice(0, 7).join('\n')]) expect(forged(lines), lines).toBeNull()
})
it('finds_a_good_signature_good_and_a_changed_byte_wrong', async () => {
  expect(await check(read(TEXT)!, [KEY])).toBe('good')
  expect(await check(forged(LINES)!, [KEY])).toBe('good')
  for (const [from, to] of [['2029-02-28', '2039-02-28'], ['石灰岩', '白云岩'], ['scope~', 'scope='], ['\n17\n', '\n18\n']] as const) expect(await check(forged(LINES.replace(from, to))!, [KEY]), to).toBe('wrong')
  const other = TEXT.slice(0, -3) + (TEXT.at(-3) === 'A' ? 'B' : 'A') + TEXT.slice(-2)
  expect(await check(read(other)!, [KEY])).toBe('wrong')
})
it('says_when_the_key_is_unknown_or_the_browser_cannot_check', async () => {
  expect(await check(read(TEXT)!, [])).toBe('key_unknown')
  expect(await check(read(TEXT)!, [{ ...KEY, id: '0000000000000000' }])).toBe('key_unknown')
  // Another key under the id that the certificate names signs nothing.
  expect(await check(read(TEXT)!, [{ id: KEY.id, key: `ed25519:${btoa('\x01'.repeat(32))}` }])).not.toBe('good')
  expect(await check(read(TEXT)!, [{ id: KEY.id, key: 'ed25519:AAAA' }])).toBe('unsupported')
})
it('names_fields_by_what_the_node_told_before', () => {
  const says = withNames(read(TEXT)!.says, { licence: { name: '行政许可', name_en: 'Licence' }, 'licence.scope': { name: '许可范围', name_en: 'Scope' } })
  expect([says.kind_name, says.fields[2]!.name, says.fields[0]!.name]).toEqual(['行政许可', '许可范围', 'licence'])
})
it('draws_runs_of_dark_modules_inside_a_quiet_zone', () => {
  expect(qrPath(['110', '001'])).toEqual({ path: 'M4 4h2v1h-2zM6 5h1v1h-1z', size: 10 })
})
