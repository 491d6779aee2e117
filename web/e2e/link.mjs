// The live link: it says when it is broken, and after coming back it is live again.
export async function linkFlow(checks, page, url, shots) {
  await checks.run('link: live within 10 s', async () => {
    await page.goto(`${url}/screen`)
    await page.waitForSelector('.link.live', { timeout: 15_000 })
  })
  await checks.run('link: silence is said across the page within 12 s, and ends with it', async () => {
    await page.context().setOffline(true)
    try {
      await page.waitForSelector('.banners .down', { timeout: 14_000 })
      if (shots) await page.screenshot({ path: `${shots}/link-down.png` })
    } finally {
      await page.context().setOffline(false)
    }
    await page.waitForSelector('.link.live', { timeout: 40_000 })
    await page.waitForSelector('.banners .down', { state: 'detached' })
  })
}
