// Registers: the overview, a new hidden danger, found by two characters, taken one step further, told in its history.
// Ids and texts of the kind come from the server, so that the claims hold whatever the pack says in its wording.
import { setLocale, setTheme, settled } from './lib.mjs'

export const REGISTER_ROUTES = ['/tasks', '/registers', '/registers/hidden_danger', '/registers/clause', '/registers/accident', '/accidents/statistics']

const KIND = 'hidden_danger'
const ask = (page, path) => page.evaluate(async (p) => (await fetch(`/api/v1${p}`)).json(), path)
const day = (days) => new Date(Date.now() + 8 * 3600_000 + days * 86_400_000).toISOString().slice(0, 10)
const visible = (page, selector) => page.locator(`${selector}:visible`)
const dialogGone = (page) => page.waitForFunction(() => ![...document.querySelectorAll('[aria-modal=true]')].some((d) => d.getClientRects().length))

/** Fills one control of the open form by the type its field has. */
async function fill(page, field, value) {
  const id = `record-${field.id}`
  if (field.type === 'choice') {
    const choice = value ?? field.choices[0].id
    const radio = page.locator(`#${id} input[value="${choice}"]`)
    if (await radio.count()) await radio.check()
    else await page.selectOption(`#${id}`, choice)
  } else if (field.type === 'person') {
    await page.waitForFunction((control) => document.getElementById(control)?.options.length > 1, id)
    await page.selectOption(`#${id}`, { index: 1 })
  } else if (field.type === 'date') await page.fill(`#${id}`, value ?? day(0))
  else if (field.type === 'number') await page.fill(`#${id}`, String(value ?? field.min ?? 1))
  else if (field.type === 'place') {
    await page.fill(`#${id}`, '102.5')
    await page.fill(`#${id}-lat`, '24.3')
  } else if (field.type === 'table') {
    await page.click(`#${id}-add`)
    for (const column of field.columns) {
      const cell = `#${id}-0-${column.id}`
      if (column.type === 'choice') await page.selectOption(cell, column.choices[0].id)
      else await page.fill(cell, column.type === 'number' ? String(column.min ?? 1) : column.type === 'date' ? day(0) : '端到端')
    }
  } else await page.fill(`#${id}`, value ?? '端到端测试')
}

/** What a transition asks, as the console asks it. */
const asked = (kind, transition) => kind.fields.filter((f) => !f.computed && transition.require.includes(f.id))

export async function registerFlow(checks, page, url, shots) {
  let kind
  let id = ''
  const word = `管廊${Date.now() % 100_000}`
  await checks.run('register: the overview lists hidden dangers with counts, and so does the menu', async () => {
    await page.goto(`${url}/registers`)
    await settled(page)
    const row = page.locator('tbody tr', { hasText: '事故隐患' })
    const cells = await row.locator('td').allInnerTexts()
    if (cells.length !== 2 || !cells.every((c) => /\d/.test(c))) throw new Error(`no counts: ${cells}`)
    await row.locator('th a').click()
    await page.waitForURL(`**/registers/${KIND}`)
    if (!(await page.locator(`nav.side a[href="/registers/${KIND}"]`).count())) throw new Error('the menu has no entry')
    kind = await ask(page, `/registers/${KIND}`)
  })
  await checks.run('register: a new record names what is missing at its fields, on top, and passes axe so', async () => {
    await settled(page)
    await visible(page, '[data-new]').first().click()
    await page.waitForSelector('#record-send')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'register-form')
    await page.click('#record-send')
    await page.waitForSelector('.summary:focus')
    const first = asked(kind, kind.transitions.find((t) => t.from.includes(kind.start)))[0]
    await page.waitForSelector(`#record-${first.id}-problem`)
    await checks.axe(page, shots, 'register-form-refused')
  })
  await checks.run('register: it is made for an enterprise found by part of its name, by keyboard, and its page opens', async () => {
    const start = kind.transitions.find((t) => t.from.includes(kind.start))
    if (await page.locator('#record-enterprise').count()) {
      await page.focus('#record-enterprise')
      if (!(await page.inputValue('#record-enterprise'))) {
        await page.keyboard.type('演示')
        await page.waitForSelector('[role=option]')
        await page.keyboard.press('ArrowDown')
        await page.keyboard.press('Enter')
      }
      if (!(await page.inputValue('#record-enterprise'))) throw new Error('no enterprise was taken')
    }
    for (const field of asked(kind, start)) await fill(page, field, field.id === kind.title ? `${word}法兰渗漏` : undefined)
    await page.click('#record-send')
    await page.waitForURL(`**/registers/${KIND}/*`)
    await settled(page)
    id = new URL(page.url()).pathname.split('/').pop()
    const heading = await page.innerText('main h1')
    if (!heading.includes(word)) throw new Error(`the page is of another record: ${heading}`)
    await checks.axe(page, shots, 'record')
  })
  await checks.run('register: two characters find it in the list, so does its number, and the address holds the search', async () => {
    await page.goto(`${url}/registers/${KIND}`)
    await settled(page)
    await page.keyboard.press('/')
    await page.waitForSelector('#record-search:focus')
    await page.keyboard.type(word.slice(0, 2))
    await page.waitForFunction((two) => new URL(location.href).searchParams.get('q') === two, word.slice(0, 2))
    await page.locator('tbody tr', { hasText: word }).first().waitFor()
    await settled(page)
    const { number } = await ask(page, `/registers/${KIND}/records/${id}`)
    const found = { [`${word}没有这个`]: 0, [word]: 1, ...(number ? { [number]: 1 } : {}) }
    for (const [q, n] of Object.entries(found)) {
      await page.goto(`${url}/registers/${KIND}?q=${encodeURIComponent(q)}`)
      await settled(page)
      const rows = await page.locator('tbody tr').count()
      if (rows !== n) throw new Error(`${q} finds ${rows}, not ${n}`)
    }
    await page.locator('tbody tr a').first().click()
    await page.waitForURL(`**/registers/${KIND}/${id}`)
  })
  await checks.run('register: the next step is taken, its state and its line in the history are there', async () => {
    await settled(page)
    const before = await ask(page, `/registers/${KIND}/records/${id}`)
    // Forward, and one that asks nothing but its own fields.
    const place = (t) => kind.states.findIndex((s) => s.id === t.to)
    const onward = before.possible.map((p) => kind.transitions.find((t) => t.id === p)).filter((t) => place(t) > kind.states.findIndex((s) => s.id === before.state))
    const next = onward.sort((x, y) => place(x) - place(y))[0]
    if (!next) throw new Error(`nothing leads on from ${before.state}`)
    if ((await page.locator('.actions .btn.primary').getAttribute('data-transition')) !== next.id) throw new Error('the main button is not the next step')
    // What a guard refuses whatever is filled in cannot be pressed, and says why.
    for (const { transition, guards } of before.blocked) {
      if (!(await page.locator(`[data-transition="${transition}"]`).isDisabled())) throw new Error(`${transition} is offered`)
      const why = await page.locator(`#why-${transition}`).innerText()
      for (const g of guards) if (!why.includes(g.says)) throw new Error(`${transition} does not say why: ${why}`)
    }
    await page.click(`[data-transition="${next.id}"]`)
    await page.waitForSelector('#record-send')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'record-step')
    for (const field of asked(kind, next)) await fill(page, field)
    await page.click('#record-send')
    await dialogGone(page)
    const to = kind.states.find((s) => s.id === next.to).name
    await page.waitForFunction((name) => document.querySelector('.steps [aria-current=step]')?.textContent.includes(name), to)
    // The name of a step may stand in that of the state before it: the second entry is waited for, not a word.
    await page.waitForFunction((name) => document.querySelectorAll('.told > li').length > 1 && document.querySelector('.told > li').textContent.includes(name), next.name)
    const told = await page.locator('.told > li').count()
    if (told !== 2) throw new Error(`the history has ${told} entries`)
    const after = await ask(page, `/registers/${KIND}/records/${id}`)
    if (after.state !== next.to || after.revision <= before.revision) throw new Error('the server knows nothing of it')
  })
  await checks.run('register: what somebody else saved first is said, what was typed stays, and it can be sent on top', async () => {
    const before = await ask(page, `/registers/${KIND}/records/${id}`)
    const step = before.possible.map((p) => kind.transitions.find((t) => t.id === p)).find((t) => asked(kind, t).some((f) => f.type === 'text'))
    if (!step) return
    await page.goto(`${url}/registers/${KIND}/${id}`)
    await settled(page)
    // The server's answer to an old revision, without a second person: the page is given one that is too old.
    await page.route(`**/records/${id}`, async (route) => {
      const answer = await route.fetch()
      await route.fulfill({ response: answer, json: { ...(await answer.json()), revision: before.revision - 1 } })
    })
    await page.reload()
    await settled(page)
    await page.click(`[data-transition="${step.id}"]`)
    await page.waitForSelector('#record-send')
    for (const field of asked(kind, step)) await fill(page, field)
    const text = asked(kind, step).find((f) => f.type === 'text')
    await page.fill(`#record-${text.id}`, `${word}保留`)
    await page.click('#record-send')
    await page.waitForSelector('.stale button')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'record-stale')
    await page.unroute(`**/records/${id}`)
    await page.click('.stale button')
    await page.waitForSelector('.stale button', { state: 'detached' })
    if ((await page.inputValue(`#record-${text.id}`)) !== `${word}保留`) throw new Error('what was typed is gone')
    await page.keyboard.press('Escape')
    await dialogGone(page)
  })
  await checks.run('register: the flow chart names every state and step, drawn and as text, and passes axe', async () => {
    await page.goto(`${url}/registers/${KIND}/${id}`)
    await settled(page)
    await page.locator('.actions .btn').last().click()
    await page.waitForSelector('.graph svg')
    await page.locator('.graph summary').click()
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'register-graph')
    const drawn = await page.locator('.graph svg').textContent()
    const listed = await page.locator('.graph details').innerText()
    for (const s of kind.states) if (!drawn.includes(s.name)) throw new Error(`not drawn: ${s.name}`)
    for (const t of kind.transitions) if (!drawn.includes(t.name) || !listed.includes(t.name)) throw new Error(`not drawn or not listed: ${t.name}`)
    await page.keyboard.press('Escape')
    await dialogGone(page)
  })
  await checks.run('register: the sheet that is exported holds the filters, the template of the import is a workbook', async () => {
    await page.goto(`${url}/registers/${KIND}?q=${encodeURIComponent(word)}`)
    await settled(page)
    const [fetched] = await Promise.all([page.waitForEvent('download', { timeout: 30_000 }), page.click('[data-export-list]')])
    if (!fetched.suggestedFilename().endsWith('.xlsx')) throw new Error(`the file is called ${fetched.suggestedFilename()}`)
    const shown = (await ask(page, `/registers/${KIND}/records?q=${encodeURIComponent(word)}&limit=1000`)).records.length
    await page.locator('[data-export] strong').waitFor()
    const said = await page.locator('[data-export] strong').innerText()
    if (Number(said.replace(/\D/g, '')) !== shown) throw new Error(`the export says "${said}" of a list of ${shown}`)
    await checks.axe(page, shots, 'register-export')
    await page.keyboard.press('Escape')
    await dialogGone(page)
    const href = await page.evaluate(async () => `/api/v1/exports/${(await (await fetch('/api/v1/exports')).json()).exports[0].id}/files/1`)
    for (const path of [href, `/api/v1/registers/${KIND}/import`]) {
      const magic = await page.evaluate(async (p) => String.fromCharCode(...new Uint8Array(await (await fetch(p)).arrayBuffer()).slice(0, 2)), path)
      if (magic !== 'PK') throw new Error(`${path} is no workbook`)
    }
    if (!kind.import.length) return
    await page.locator('.head button', { hasText: '导入' }).click()
    await page.waitForSelector('#import-file')
    await page.setInputFiles('#import-file', { name: 'no-workbook.xlsx', mimeType: 'application/octet-stream', buffer: Buffer.from('this is not a workbook') })
    await page.waitForSelector('.el-dialog .summary')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'register-import')
    await page.keyboard.press('Escape')
    await dialogGone(page)
  })
  await checks.run('register: the map shows the records of the list by place, says how many have none, and names those at a place', async () => {
    const layer = await ask(page, `/registers/${KIND}/map`)
    await page.goto(`${url}/registers/${KIND}`)
    await settled(page)
    await page.click('[data-map]')
    await page.waitForURL(`**/registers/${KIND}?view=map`)
    await page.waitForFunction(() => window.anlanMap?.loaded(), null, { timeout: 30_000 })
    await page.waitForSelector('.legend')
    const told = (await page.locator('.legend > span:not(.muted)').allInnerTexts()).reduce((sum, text) => sum + Number(text.replace(/\D/g, '')), 0)
    if (told !== layer.features.length) throw new Error(`the legend tells of ${told}, the layer of ${layer.features.length}`)
    if (layer.placeless && !(await page.locator('.legend .muted').first().innerText()).includes(String(layer.placeless))) throw new Error('those without a place are not told')
    await checks.axe(page, shots, 'register-map')
    if (!layer.features.length) return
    await page.waitForTimeout(500)
    const at = await page.evaluate((place) => {
      const box = window.anlanMap.getCanvas().getBoundingClientRect()
      const { x, y } = window.anlanMap.project(place)
      return { x: box.left + x, y: box.top + y }
    }, layer.features[0].geometry.coordinates)
    await page.mouse.click(at.x, at.y)
    await page.waitForSelector(`.card:focus a[href="/registers/${KIND}/${layer.features[0].properties.id}"]`)
    await checks.axe(page, shots, 'register-map-place')
    await page.keyboard.press('Escape')
    await page.waitForSelector('.card', { state: 'detached' })
  })
  await checks.run('register: the bell opens by keyboard, closes with Esc and gives the focus back', async () => {
    await page.goto(`${url}/tasks`)
    await settled(page)
    await page.locator('.bell > button').press('Enter')
    await page.waitForSelector('#notices:focus')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'notices')
    await page.keyboard.press('Escape')
    await page.waitForSelector('#notices', { state: 'detached' })
    await page.waitForSelector('.bell > button:focus')
  })
  for (const [width, dark, locale] of [[390, true, 'zh-CN'], [390, false, 'en'], [1366, true, 'en'], [1366, false, 'zh-CN']]) {
    await checks.run(`register: the record fits ${width} px and passes axe, ${dark ? 'dark' : 'light'}, ${locale}`, async () => {
      await page.setViewportSize({ width, height: width === 390 ? 844 : 768 })
      await setTheme(page, dark)
      await setLocale(page, locale)
      await page.goto(`${url}/registers/${KIND}/${id}`)
      await settled(page)
      await checks.axe(page, shots, `record-${width}-${dark ? 'dark' : 'light'}-${locale}`)
      const over = await page.evaluate(() => Math.max(document.documentElement.scrollWidth - innerWidth, document.querySelector('main').scrollWidth - document.querySelector('main').clientWidth))
      if (over > 1) throw new Error(`${over} px wider than the window`)
      if (width > 390) return
      await page.click('nav.side .more')
      await page.waitForSelector('.others.open')
      await page.waitForTimeout(300)
      await checks.axe(page, shots, `menu-${dark ? 'dark' : 'light'}`)
    })
  }
  await page.setViewportSize({ width: 1920, height: 1080 })
  await setTheme(page, true)
  await setLocale(page, 'zh-CN')
}

/** Wider than the window by so many pixels. */
const wider = (page) => page.evaluate(() => Math.max(document.documentElement.scrollWidth - innerWidth, document.querySelector('main').scrollWidth - document.querySelector('main').clientWidth))
/** At a desk in light Chinese and on a phone in dark English: axe, and nothing sticks out. */
async function bothWays(checks, page, shots, name, open) {
  for (const [width, dark, locale] of [[1440, false, 'zh-CN'], [390, true, 'en']]) {
    await page.setViewportSize({ width, height: width === 390 ? 844 : 900 })
    await setTheme(page, dark)
    await setLocale(page, locale)
    await open()
    await settled(page)
    await checks.axe(page, shots, `${name}-${width}`)
    const over = await wider(page)
    if (over > 1) throw new Error(`${over} px wider than the window at ${width}`)
  }
  await page.setViewportSize({ width: 1920, height: 1080 })
  await setTheme(page, true)
  await setLocale(page, 'zh-CN')
}

/** A licence with its certificate: on its page, on paper, and as a stranger checks it. */
export async function certificateFlow(checks, page, url, shots) {
  let at = ''
  let code = ''
  await checks.run('certificate: the page of a valid licence shows its code, and passes axe', async () => {
    const { records } = await ask(page, `/registers/${KIND}/records?limit=1`)
    const no = `滇FM${Date.now()}`
    const fields = { subject: '端到端许可', licence: 'mine', scope: '石灰岩露天开采', certificate_no: no, issued_on: day(-30), valid_from: day(-30), valid_until: day(300) }
    const made = await page.evaluate(async (body) => {
      const { csrf } = await (await fetch('/api/v1/session')).json()
      const answer = await fetch('/api/v1/registers/licence/records', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf }, body: JSON.stringify(body) })
      return answer.json()
    }, { enterprise: records[0].enterprise.id, transition: 'enter', fields })
    if (!made.id) throw new Error(JSON.stringify(made))
    at = `/registers/licence/${made.id}`
    code = (await ask(page, `/registers/licence/records/${made.id}/certificate`)).code
    await bothWays(checks, page, shots, 'certificate', async () => {
      await page.goto(url + at)
      await page.waitForSelector('[data-certificate] svg.qr')
    })
  })
  await checks.run('certificate: a stranger sees a good signature and the state now, a wrong one for a changed letter, and the key is kept for later', async () => {
    await page.goto(`${url}/verify#${code}`)
    await page.waitForSelector('[data-signature=good]')
    await page.waitForSelector('[data-standing=in_force]')
    await checks.axe(page, shots, 'verify-good')
    const other = code.slice(0, 60) + (code[60] === 'A' ? 'B' : 'A') + code.slice(61)
    for (const [text, found] of [[other, '[data-signature=wrong], [role=alert]'], ['AL1.x', '[role=alert]']]) {
      await page.fill('#verify-text', text)
      await page.click('main button[type=submit]')
      await page.waitForSelector(found)
    }
    // Without the node: the signature is still checked, and nothing is said of the state.
    await page.route('**/api/v1/certificates/**', (route) => route.abort())
    await page.fill('#verify-text', code)
    await page.click('main button[type=submit]')
    await page.waitForSelector('[data-signature=good]')
    await page.waitForSelector('[data-standing=unasked]')
    await checks.axe(page, shots, 'verify-offline')
    await page.unroute('**/api/v1/certificates/**')
  })
  await checks.run('certificate: on paper it stands with its code, its steps and its hash, and fits a phone', async () => {
    await bothWays(checks, page, shots, 'print', async () => {
      await page.goto(`${url}${at}/print`)
      await page.waitForSelector('main .certificate svg.qr')
    })
    const { entries } = await ask(page, `${at.replace('/registers/licence/', '/registers/licence/records/')}/history`)
    const foot = await page.locator('.foot').innerText()
    if (!foot.includes(entries[0].hash)) throw new Error(`the hash is not on it: ${foot}`)
  })
}

/** The first page of who works on registers: what the week asks, each figure the one that its own page shows. */
export async function homeFlow(checks, page, url, shots) {
  await checks.run('home: the first page says what is late and due this week as the lists do, leads to it, and passes axe', async () => {
    await bothWays(checks, page, shots, 'home', () => page.goto(`${url}/`))
    await page.goto(`${url}/`)
    await page.waitForURL('**/home')
    await settled(page)
    const [tasks, { registers }] = [await ask(page, '/tasks?limit=1'), await ask(page, '/registers')]
    const late = registers.reduce((sum, r) => sum + r.overdue, 0)
    const figures = (await page.locator('.tile b').allInnerTexts()).map((text) => Number(text.replace(/\D/g, '')))
    for (const [what, n] of Object.entries({ overdue: tasks.overdue, week: tasks.this_week, late })) if (!figures.includes(n)) throw new Error(`${what} is ${n}, not among ${figures}`)
    const first = registers.filter((r) => r.overdue)[0]
    if (first) {
      await page.locator(`#home-late a[href^="/registers/${first.kind}?"]`).click()
      await page.waitForURL(`**/registers/${first.kind}?overdue=true`)
      await page.goto(`${url}/home`)
      await settled(page)
    }
    await page.locator('.tile').first().press('Enter')
    await page.waitForFunction(() => document.activeElement?.id.startsWith('home-'))
  })
}

/** The file of an enterprise: found in the list, reached from a record, with its records and people. */
export async function enterpriseFlow(checks, page, url, shots) {
  await checks.run('enterprise: found by part of its name, its file shows its records, points, people, and passes axe', async () => {
    const { registers } = await ask(page, '/registers')
    const { records } = await ask(page, `/registers/${KIND}/records?limit=1`)
    const { id, name, code } = await ask(page, `/enterprises/${records[0].enterprise.id}`)
    await bothWays(checks, page, shots, 'enterprises', () => page.goto(`${url}/enterprises`))
    await page.goto(`${url}/enterprises?q=${encodeURIComponent(code)}`)
    await settled(page)
    await page.locator('tbody tr', { hasText: name }).locator('a').first().click()
    await page.waitForURL(`**/enterprises/${id}`)
    const part = page.locator('#enterprise-records')
    await part.locator(`a[href*="/registers/${KIND}/${records[0].id}"]`).waitFor()
    const text = await part.innerText()
    if (!text.includes(registers.find((r) => r.kind === KIND).name)) throw new Error('the register is not named')
    const people = await page.locator('#enterprise-people li').count()
    if (!people) throw new Error('nobody is responsible')
    await page.locator('.parts button').nth(1).press('Enter')
    await page.waitForSelector('#enterprise-records:focus')
    await bothWays(checks, page, shots, 'enterprise', () => page.goto(`${url}/enterprises/${id}`))
    await page.goto(`${url}/registers/${KIND}/${records[0].id}`)
    await settled(page)
    await page.locator(`.facts a[href="/enterprises/${id}"]`).click()
    await page.waitForURL(`**/enterprises/${id}`)
  })
}

/** The document of the API: every register that is on with its fields, by address, search and keyboard. */
export async function apiFlow(checks, page, url, shots) {
  await checks.run('api: the document names the register with its fields, is searched, has an address for each operation, passes axe', async () => {
    const kind = await ask(page, `/registers/${KIND}`)
    await bothWays(checks, page, shots, 'api', async () => {
      await page.goto(`${url}/docs/api#post-registers-${KIND}-records`)
      await page.waitForSelector(`#post-registers-${KIND}-records[open] table`)
    })
    await page.goto(`${url}/docs/api#post-registers-${KIND}-records`)
    const open = page.locator(`#post-registers-${KIND}-records[open]`)
    await open.locator('table').first().waitFor()
    const text = await open.innerText()
    for (const id of kind.transitions.find((t) => t.from.includes(kind.start)).require) if (!text.includes(id)) throw new Error(`the field ${id} is not named`)
    if (await page.evaluate(() => document.documentElement.scrollTop || document.querySelector('.top').getBoundingClientRect().top)) throw new Error('the frame moved')
    const { registers } = await ask(page, '/registers')
    const listed = await page.locator('.toc').innerText()
    for (const r of registers) if (!listed.includes(r.name)) throw new Error(`${r.name} is not listed`)
    await page.fill('#api-search', 'alarms acknowledge')
    await page.waitForFunction(() => document.querySelectorAll('.group details').length === 1)
    await page.locator('.group summary').press('Enter')
    await page.locator('.group details[open] table').first().waitFor()
  })
}

/** Packs, as the administrator sees them: the built-in one draws its registers; one that is off can be asked about. */
export async function packFlow(checks, page, url, shots) {
  await checks.run('enterprise: the template of the import goes in again on trial, and what is no workbook is refused', async () => {
    await page.goto(`${url}/enterprises`)
    await settled(page)
    await page.click('[data-import]')
    await page.waitForSelector('#import-file')
    const template = await page.evaluate(async () => [...new Uint8Array(await (await fetch('/api/v1/enterprises/import')).arrayBuffer())])
    await page.setInputFiles('#import-file', { name: 'enterprises.xlsx', mimeType: 'application/octet-stream', buffer: Buffer.from(template) })
    await page.waitForSelector('.el-dialog .counts')
    await page.setInputFiles('#import-file', { name: 'no-workbook.xlsx', mimeType: 'application/octet-stream', buffer: Buffer.from('this is not a workbook') })
    await page.waitForSelector('.el-dialog .summary')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'enterprise-import')
    await page.keyboard.press('Escape')
    await dialogGone(page)
  })
  await checks.run('register: the packs tab shows the built-in pack with its hash and draws its registers', async () => {
    await page.goto(`${url}/admin/packs`)
    await settled(page)
    const { packs } = await ask(page, '/packs')
    const base = packs.find((p) => p.state === 'built_in')
    const row = page.locator('tbody tr', { hasText: base.hash.slice(0, 12) })
    await row.locator('.kinds button').first().click()
    await page.waitForSelector('.graph svg')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'pack-graph')
    await page.keyboard.press('Escape')
    await dialogGone(page)
    const off = packs.find((p) => p.state === 'available')
    if (!off) return
    await page.locator('tbody tr', { hasText: off.hash.slice(0, 12) }).locator('td.actions button').first().click()
    await page.waitForSelector('.el-dialog .btn.primary:visible')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'pack-enable')
    await page.keyboard.press('Escape')
    await dialogGone(page)
  })
}
