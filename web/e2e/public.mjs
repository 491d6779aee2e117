// The public site: every page in both themes, both languages, at 320 px and at desk width; axe finds nothing, no script runs, nothing sticks out sideways.
// Nobody is signed in. Single records are found through their lists, so that the claims hold whatever is published.

/** Bytes of a page with everything it loads. */
const PAGE_MOST = 100_000
const LISTS = ['/public/warnings', '/public/notices', '/public/listed', '/public/plans', '/public/activities']
const PLAIN = ['/public', '/public/report', '/public/follow', '/public/licences', '/public/nothing-here']

const nameOf = (route) => route.slice(1).replace(/[/?=&]/g, '-')

/** The list, and the first three that it leads to. */
async function found(page, url) {
  const routes = [...PLAIN]
  for (const list of LISTS) {
    await page.goto(url + list)
    const inside = await page.locator(`ul.cards a[href^="${list}/"]`).evaluateAll((links) => links.map((a) => a.getAttribute('href')))
    routes.push(list, ...inside.slice(0, 3))
  }
  return routes
}

export async function publicFlow(checks, browser, url, shots) {
  const context = await browser.newContext({ viewport: { width: 1366, height: 768 }, locale: 'zh-CN', javaScriptEnabled: true, ignoreHTTPSErrors: true })
  const page = await context.newPage()
  let routes = PLAIN
  await checks.run('public: each page is found without signing in, and none brings a script or a cookie', async () => {
    routes = await found(page, url)
    for (const route of routes) {
      let bytes = 0
      const count = async (response) => (bytes += (await response.body().catch(() => Buffer.alloc(0))).length)
      page.on('response', count)
      await page.goto(url + route, { waitUntil: 'networkidle' })
      page.off('response', count)
      if (bytes > PAGE_MOST) throw new Error(`${route} has ${bytes} bytes`)
      const scripts = await page.locator('script').count()
      if (scripts) throw new Error(`${route} has ${scripts} scripts`)
    }
    const cookies = await context.cookies()
    if (cookies.length) throw new Error(`cookies: ${cookies.map((c) => c.name)}`)
  })
  for (const [scheme, query] of [['dark', ''], ['light', 'lang=en'], ['light', ''], ['dark', 'lang=en']]) {
    await page.emulateMedia({ colorScheme: scheme })
    for (const route of routes) {
      const name = `${nameOf(route)}-${scheme}${query ? '-en' : ''}`
      await checks.run(`page ${name} passes axe`, async () => {
        await page.goto(`${url}${route}${query ? `?${query}` : ''}`)
        await checks.axe(page, shots, name)
      })
    }
  }
  for (const width of [320, 1366]) {
    await page.setViewportSize({ width, height: 700 })
    for (const route of routes) {
      await checks.run(`page ${nameOf(route)} fits ${width} px`, async () => {
        await page.goto(url + route)
        if (shots && width === 320) await page.screenshot({ path: `${shots}/${nameOf(route)}-320.png`, fullPage: true })
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
        if (over > 0) throw new Error(`${over} px wider than the window`)
      })
    }
  }
  await checks.run('public: a certificate that is none is told at its field, and axe passes so', async () => {
    await page.goto(`${url}/public/licences`)
    await page.fill('#code', '不是证书')
    await page.click('button')
    await page.waitForSelector('#code[aria-invalid=true]')
    await checks.axe(page, shots, 'public-licences-fault')
  })
  await context.close()
}
