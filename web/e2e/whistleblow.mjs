// A report of a violation: from the public form, without a script on a telephone, to its end at the desk.
import { signIn } from './lib.mjs'

const WORDS = '三号库房照明不防爆，夜间无人值守（演示）'

const holds = (text, what) => {
  if (!text.includes(what)) throw new Error(`no ${JSON.stringify(what)} in ${JSON.stringify(text.slice(0, 300))}`)
}

/** `people`: name, password and, of holders, passphrase of legal, leader, hongta. */
export async function whistleblowFlow(checks, browser, page, url, shots, people) {
  const phone = await browser.newContext({ viewport: { width: 390, height: 844 }, javaScriptEnabled: false, isMobile: true, hasTouch: true, locale: 'zh-CN', ignoreHTTPSErrors: true })
  const visitor = await phone.newPage()
  const shot = async (which, name) => shots && (await which.screenshot({ path: `${shots}/whistleblow-${name}.png`, fullPage: true }))
  const tokens = {}
  const ask = async (who, method, path, body) => {
    if (!tokens[who]) {
      const signed = await fetch(`${url}/api/v1/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: who, password: people[who].password }) })
      tokens[who] = (await signed.json()).token
    }
    const response = await fetch(`${url}/api/v1${path}`, { method, headers: { authorization: `Bearer ${tokens[who]}`, ...(body ? { 'content-type': 'application/json' } : {}) }, body: body && JSON.stringify(body) })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return text ? JSON.parse(text) : null
  }
  let code = ''
  let record = ''
  const act = async (who, transition, fields) => {
    const at = `/registers/whistleblow_report/records/${record}`
    const { revision } = await ask(who, 'GET', at)
    await ask(who, 'POST', `${at}/transitions/${transition}`, { revision, fields })
  }
  const look = async () => {
    await visitor.goto(`${url}/public/follow`)
    await visitor.fill('#code', code.toLowerCase().replaceAll('-', ' '))
    await visitor.click('main button')
    return visitor.textContent('main')
  }
  await checks.run('whistleblow: a report goes out from a telephone without a script', async () => {
    await visitor.goto(`${url}/public`)
    await visitor.click('main a[href="/public/report"]')
    await visitor.selectOption('#region', '530402')
    await visitor.fill('#what', '短')
    await visitor.fill('#name', '王演示')
    // A browser that knows `required` keeps it; what a server says without that is in its own tests.
    await visitor.fill('#what', WORDS)
    await visitor.fill('#contact', '13900000000')
    await visitor.setInputFiles('#files', [{ name: '库房.txt', mimeType: 'text/plain', buffer: Buffer.from('照片代替') }])
    await shot(visitor, 'form')
    await visitor.click('main button')
    code = (await visitor.textContent('#code')).trim()
    if (!/^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$/.test(code)) throw new Error(`no code: ${code}`)
    if (visitor.url().includes(code)) throw new Error('the code is in the address')
    await shot(visitor, 'receipt')
    holds(await look(), '待筛查')
  })
  await checks.run('whistleblow: a holder opens the words at the desk, with the passphrase', async () => {
    const list = await ask('legal', 'GET', '/registers/whistleblow_report/records?state=received')
    record = list.records.reduce((newest, one) => (one.number > newest.number ? one : newest)).id
    await page.context().clearCookies()
    await signIn(page, url, 'legal', people.legal.password)
    await page.goto(`${url}/registers/whistleblow_report/${record}`)
    await page.fill('#sealed-passphrase', 'not the passphrase')
    await page.click('[data-open-sealed]')
    await page.waitForSelector('.sealed [role=alert], #sealed-passphrase-problem')
    await page.fill('#sealed-passphrase', people.legal.passphrase)
    await page.click('[data-open-sealed]')
    await page.waitForSelector('.sealed article')
    holds(await page.textContent('.sealed'), WORDS)
    await checks.axe(page, shots, 'whistleblow-record')
  })
  await checks.run('whistleblow: it is taken up, checked, answered and rewarded, and the reporter sees it', async () => {
    const by = new Date(Date.now() + 20 * 86_400_000).toISOString().slice(0, 10)
    await act('legal', 'accept', { subject: '某厂库房照明不防爆', facts: '库房照明不防爆', unit: '某厂', handle_by: by })
    const session = await ask('hongta', 'GET', '/session')
    await act('legal', 'assign', { handler: session.user.id })
    const today = new Date(Date.now() + 8 * 3_600_000).toISOString().slice(0, 10)
    await act('hongta', 'verify', { checked_on: today, findings: '属实', verdict: 'true', measures: '责令更换，立案', penalty_yuan: 40000 })
    await act('legal', 'answer', { reply: '属实，已责令更换（演示）' })
    await act('legal', 'propose_reward', { reward_yuan: 6000, reward_basis: '罚款的 15%' })
    await act('leader', 'approve_reward', {})
    holds(await look(), '奖励待发放')
    await visitor.fill('#what', '收款信息如下')
    await visitor.fill('#payee', '王演示 6222 0000')
    await visitor.click('main fieldset ~ button')
    holds(await visitor.textContent('main'), '补充材料已收到')
  })
  await checks.run('whistleblow: who reported takes two holders', async () => {
    const at = `/whistleblow/reports/${record}`
    await page.goto(`${url}/registers/whistleblow_report/${record}`)
    await page.fill('#sealed-reason', '发放奖励')
    await page.click('[data-ask-unsealing]')
    await page.waitForSelector('.asked li')
    const { unsealings } = await ask('leader', 'GET', at)
    await ask('leader', 'POST', `${at}/unsealings/${unsealings[0].n}/grant`, { passphrase: people.leader.passphrase })
    await page.reload()
    await page.fill('#sealed-passphrase', people.legal.passphrase)
    await page.click('[data-unseal]')
    await page.waitForSelector('.sealed .opened dl')
    const who = await page.textContent('.sealed .opened dl')
    holds(who, '王演示')
    holds(who, '6222 0000')
    await checks.axe(page, shots, 'whistleblow-who')
    await act('hongta', 'pay_reward', { paid_on: new Date(Date.now() + 8 * 3_600_000).toISOString().slice(0, 10), paid_how: '凭证 0001' })
    holds(await look(), '已办结')
    await shot(visitor, 'closed')
  })
  await phone.close()
}
