import { expect, it } from 'vitest'
import en from './en'
import zhCN from './zh-CN'

type Tree = { [key: string]: string | Tree }
function flat(tree: Tree, prefix = ''): Map<string, string> {
  const out = new Map<string, string>()
  for (const [key, value] of Object.entries(tree)) {
    if (typeof value === 'string') out.set(prefix + key, value)
    else for (const [k, v] of flat(value, `${prefix}${key}.`)) out.set(k, v)
  }
  return out
}
const zh = flat(zhCN)
const english = flat(en)
const params = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort().join()

it('has_every_key_in_both_languages', () => {
  expect([...english.keys()].sort()).toEqual([...zh.keys()].sort())
})
it('has_no_empty_text_and_the_same_values_in_both', () => {
  for (const [key, text] of zh) {
    expect(text.trim(), key).not.toBe('')
    expect(english.get(key)!.trim(), key).not.toBe('')
    // The English sentence may name a value twice, the Chinese once.
    expect(new Set(params(english.get(key)!).split(',')), key).toEqual(new Set(params(text).split(',')))
  }
})
it('uses_none_of_the_characters_that_vue_i18n_reads_as_syntax', () => {
  for (const [key, text] of [...zh, ...english]) expect(/[@|$]/.test(text), key).toBe(false)
})
it('holds_every_key_that_the_sources_name', () => {
  const sources = import.meta.glob('../**/*.{vue,ts}', { query: '?raw', import: 'default', eager: true }) as Record<string, string>
  const missing: string[] = []
  const prefixes = [...zh.keys()]
  for (const [file, source] of Object.entries(sources)) {
    if (file.endsWith('.test.ts')) continue
    for (const [, key] of source.matchAll(/\bt\(\s*'([\w.-]+)'/g)) if (!zh.has(key!)) missing.push(`${file}: ${key}`)
    // `level.${level}`: at least something must live under the constant part.
    for (const [, prefix] of source.matchAll(/\bt\(\s*`([\w.-]+\.)\$\{/g)) if (!prefixes.some((k) => k.startsWith(prefix!))) missing.push(`${file}: ${prefix}*`)
    for (const [, key] of source.matchAll(/title: '([\w.]+\.[\w.]+)'/g)) if (!zh.has(key!)) missing.push(`${file}: ${key}`)
  }
  expect(missing).toEqual([])
})
it('keeps_chinese_out_of_the_sources', () => {
  const sources = import.meta.glob('../**/*.vue', { query: '?raw', import: 'default', eager: true }) as Record<string, string>
  for (const [file, source] of Object.entries(sources)) {
    const visible = source.replace(/<!--[\s\S]*?-->/g, '').replace(/^\s*(\/\/|\*|\/\*).*$/gm, '')
    expect(/[\u4e00-\u9fff]/.exec(visible)?.[0] ?? null, file).toBeNull()
  }
})
