// Names, values and problems of a kind in the reader's language. Start at [`useWords`].
import { useI18n } from 'vue-i18n'
import type { Shown } from '@/api/problem'
import type { Problem as ServerProblem } from '@/api/types'
import { stateName } from './copied'
import { actOf, figure, hintIn, nameIn, stateOf, transitionOf, valueText } from './kind'
import type { Field, HistoryEntry, RecordReference, Register, RegisterRecord, Transition, Value } from './types'
import { type Problem, controlName } from './values'

export function useWords() {
  const { t, te, locale } = useI18n()
  const named = (item: { name: string; name_en: string }) => nameIn(locale.value, item)
  const hint = (field: Field) => hintIn(locale.value, field)
  const says = (guard: { says: string; says_en: string }) => (locale.value === 'en' ? guard.says_en || guard.says : guard.says)
  const state = (kind: Register, id: string | null) => {
    const found = id === null ? undefined : stateOf(kind, id)
    return found ? named(found) : (id ?? '—')
  }
  /** The state of a record, also of a copy whose register is another version. */
  const stateOfRecord = (kind: Register, record: Pick<RegisterRecord, 'state' | 'home'>) => stateName(kind, record, locale.value)
  const files = () => ({ name: t('file.name'), bytes: t('file.size'), hash: 'SHA-256' })
  /** The states a transition may lead to. */
  const targets = (kind: Register, taken: Transition) => [taken.to, ...taken.turns].map((id) => state(kind, id)).join(t('list.or'))
  const transition = (kind: Register, id: string) => {
    const found = transitionOf(kind, id)
    return found ? named(found) : id
  }
  /** What was done, in a word. */
  const act = (kind: Register, entry: HistoryEntry) => {
    if (entry.transition) return transition(kind, entry.transition)
    const found = actOf(entry)
    return found === 'remind' ? t('register.reminded.title') : t(`register.act.${found}`)
  }
  const value = (field: Field, v: Value | undefined, people: Record<string, string>, records: Readonly<Record<string, RecordReference>> = {}) =>
    valueText(field, v, { locale: locale.value, people, records, unseen: t('register.unseen'), rows: (n) => t('register.rows', { n }), files: (n) => t('file.count', { n }) })
  const role = (id: string) => (te(`role.${id}`, 'zh-CN') ? t(`role.${id}`) : id)
  const roles = (ids: readonly string[]) => ids.map(role).join(t('list.comma'))
  const confidence = (word: string) => (te(`confidence.${word}`, 'zh-CN') ? t(`confidence.${word}`) : word)

  /** A mistake found before asking, as a sentence at its control. */
  function fault(p: Problem): Shown {
    const name = named(p.field)
    const text = t(`register.fault.${p.fault}`, { field: name, bound: p.bound === undefined ? '' : figure(p.bound), unit: p.field.unit })
    return { field: p.name, text: p.row === undefined ? text : t('register.inRow', { n: p.row, text }) }
  }
  /** A problem of the server: a guard in the reader's language, a field by its name, at the control of the form. */
  function refusal(kind: Register, transitionTaken: Transition | null) {
    return (shown: Shown, problem: ServerProblem | null): Shown => {
      const control = controlName(shown.field)
      if (problem?.code === 'register.guard') {
        const guard = transitionTaken?.guards.find((g) => g.id === problem.params?.guard)
        return { field: null, text: guard ? says(guard) : shown.text }
      }
      const field = kind.fields.find((f) => f.id === control?.split('-')[0])
      if (!field) return { field: control, text: shown.text }
      // A cell of a table is told with its row: the summary above the form stands away from it.
      const row = /^fields\.\w+\[(\d+)\]/.exec(problem?.field ?? '')?.[1]
      const column = /^fields\.\w+\[\d+\]\.(\w+)/.exec(problem?.field ?? '')?.[1]
      const name = named(field.columns.find((c) => c.id === column) ?? field)
      const placed = (text: string) => (row === undefined ? text : t('register.inRow', { n: Number(row) + 1, text }))
      const key = `register.refused.${problem?.code.replace('register.', '') ?? ''}`
      return { field: control, text: placed(te(key, 'zh-CN') ? t(key, { field: name }) : t('list.colon', { name }) + shown.text) }
    }
  }
  return { named, hint, says, state, stateOfRecord, files, targets, transition, act, value, role, roles, confidence, fault, refusal }
}
