// Who is signed in, what the server says about itself, and asking again when acting needs it.
// A screen never goes dark because a session went idle: reads stay, acting opens the dialog. Start at [`useSession`].
import { defineStore } from 'pinia'
import { api, ApiError, hooks } from '@/api/client'
import type { Session, Status } from '@/api/types'
import { link, setServerNow } from '@/live/live'

type ReauthMode = 'idle' | 'expired'

export const useSession = defineStore('session', {
  state: () => ({
    status: null as Status | null,
    session: null as Session | null,
    demoSeen: false,
    /** The server no longer knows us; what is on the screen is from before. */
    expired: false,
    reauth: null as { mode: ReauthMode; done: (again: boolean) => void } | null,
    loaded: false,
  }),
  getters: {
    signedIn: (s) => s.session !== null,
    demo: (s): boolean => s.demoSeen || (s.session?.demo ?? false) || (s.status?.demo ?? false),
    testClock: (s): boolean => (s.session?.test_clock ?? false) || (s.status?.test_clock ?? false),
    readOnly: (s): boolean => s.expired || (s.session?.idle ?? false),
    roles: (s): string[] => [...new Set((s.session?.user.grants ?? []).map((g) => g.role))],
    /** Where work starts: who watches begins at the screen, who answers for a territory with what presses there, everybody else with what the week asks. */
    home(): string {
      const watches = ['duty_officer', 'screen']
      if (this.roles.some((r) => watches.includes(r))) return '/screen'
      return this.roles.includes('leader') ? '/leaders' : '/home'
    },
    /** Holds some grant without bounds: sees what belongs to the whole node. */
    nodeWide: (s): boolean => (s.session?.user.grants ?? []).some((g) => !g.region && !g.sector && !g.enterprise),
    can: (s) => (permission: string) => s.session?.user.permissions.includes(permission) ?? false,
  },
  actions: {
    async load() {
      this.status = await api.get<Status>('/status')
      try {
        this.enter(await api.get<Session>('/session'))
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error
        this.expired = false
      }
      this.loaded = true
    },
    enter(session: Session) {
      this.session = session
      this.expired = false
      setServerNow(session.now)
      link.start()
    },
    /** `code`: the second factor's, where one is asked for (`sign_in.code_needed`). */
    async signIn(username: string, password: string, code = '') {
      await api.post('/session', { username, password, ...(code ? { code } : {}) }, { bare: true })
      this.enter(await api.get<Session>('/session'))
    },
    async setup(token: string, username: string, password: string) {
      await api.post('/setup', { token, username, password }, { bare: true })
      await this.signIn(username, password)
      if (this.status) this.status.setup_needed = false
    },
    async signOut() {
      await api.delete('/session')
      link.stop()
      this.session = null
    },
    /** Refreshes the idle mark; a session that ended meanwhile leaves the screen lit. */
    async refresh() {
      if (!this.session) return
      try {
        this.session = await api.get<Session>('/session')
      } catch (error) {
        if (!(error instanceof ApiError)) throw error
      }
    },
    /** Opens the dialog; whoever acts meanwhile waits for the same answer. */
    askAgain(mode: ReauthMode): Promise<boolean> {
      return new Promise((resolve) => {
        const before = this.reauth?.done
        this.reauth = {
          mode: this.reauth?.mode === 'expired' ? 'expired' : mode,
          done: (again) => {
            before?.(again)
            resolve(again)
          },
        }
      })
    },
    async answer(password: string, code = '') {
      if (!this.reauth || !this.session) return
      if (this.reauth.mode === 'idle') {
        await api.post('/session/reauth', { password }, { bare: true })
        this.session = await api.get<Session>('/session')
      } else {
        await this.signIn(this.session.user.username, password, code)
        // The old socket belonged to the old session.
        link.stop()
        link.start()
      }
      this.expired = false
      this.reauth.done(true)
      this.reauth = null
    },
    giveUp() {
      this.reauth?.done(false)
      this.reauth = null
    },
  },
})

/** Joins the API client to the session; called once, after Pinia stands. */
export function plugSession() {
  const session = useSession()
  hooks.csrf = () => session.session?.csrf ?? ''
  hooks.reauthenticate = (mode) => (session.session ? session.askAgain(mode) : Promise.resolve(false))
  hooks.expired = () => {
    if (session.session) session.expired = true
  }
  hooks.demo = () => (session.demoSeen = true)
}
