// Problems in the reader's words: by code if we have it, else the server's own sentence. Start at [`useProblem`].
import { useI18n } from 'vue-i18n'
import { ApiError } from './client'
import type { Problem } from './types'

export interface Shown {
  text: string
  field: string | null
}

export function useProblem() {
  const { t, te } = useI18n()

  function one(problem: Problem): Shown {
    const key = `problem.${problem.code}`
    const text = te(key, 'zh-CN') ? t(key, problem.params ?? {}) : problem.detail || t('problem.unknown', { code: problem.code })
    return { text, field: problem.field ?? null }
  }

  /** Every problem of an error; a failure that is not the server's is one sentence too. */
  function describe(error: unknown): Shown[] {
    if (!(error instanceof ApiError)) return [{ text: t('problem.unknown', { code: String(error) }), field: null }]
    if (error.problems.length > 0) return error.problems.map(one)
    const key = `problem.http.${error.status}`
    return [{ text: te(key, 'zh-CN') ? t(key) : t('problem.unknown', { code: error.code }), field: null }]
  }
  const sentence = (error: unknown) =>
    describe(error)
      .map((p) => p.text)
      .join(' ')
  return { describe, sentence }
}

export const traceOf = (error: unknown) => (error instanceof ApiError ? error.trace : null)
