// Made by generate.py from jupyter_remote/wire.py; do not edit.

export interface AccountSummary {
  running: number;
  sessions: number;
  queued: number;
  rate_ucredits_per_h: number;
  usd_per_h: number;
  simulated: boolean;
  spent_today_ucredits: number;
  since_at: number;
  available_ucredits: number;
  held_ucredits: number;
  at: number;
}

export interface Bar {
  id: string;
  n: number;
  total?: number | null;
  description?: string;
  unit?: string;
  rate?: number | null;
  elapsed_s?: number;
  parent?: string;
  postfix?: string;
  state?: "close" | "open" | "update";
  leave?: boolean;
  unit_divisor?: number;
}

export interface Estimate {
  run_s?: Interval | null;
  ucredits?: Interval | null;
  basis?: string;
  runs?: number;
}

export interface GpuMetrics {
  name: string;
  use_percent?: number;
  memory_bytes?: number;
  memory_total_bytes?: number;
  power_w?: number;
  temperature_c?: number;
  mean_percent?: number;
  peak_percent?: number;
  peak_memory_bytes?: number;
}

export interface History {
  at: number;
  event: string;
  text: string;
  epoch: number;
}

export interface HistoryReply {
  history: History[];
}

export interface Interval {
  low: number;
  expected: number;
  high: number;
}

export interface JobList {
  jobs: JobView[];
  next: string;
}

export interface JobView {
  id: string;
  kind: string;
  status: string;
  stage?: string;
  reason?: string;
  detail?: string;
  description?: string;
  visibility?: string;
  version?: string;
  machine?: string;
  money: Money;
  client?: string;
  batch?: string | null;
  session?: string;
  attempt?: number;
  worker?: string;
  submitted_at: number;
  started_at?: number | null;
  ended_at?: number | null;
  timeout_s?: number | null;
  max_cost_ucredits?: number | null;
  progress?: Bar[];
  metrics?: Metrics | null;
  inputs?: NameInfo[];
  inputs_bytes?: number;
  code_digest?: string;
  cursor?: number;
  notebook?: string;
  fuse?: string;
  estimate?: Estimate | null;
  warned_at?: number | null;
  checkpoint_at?: number | null;
  checkpoint_bytes?: number;
  resumes?: string;
  cached_from?: string;
  saved_ucredits?: number;
  priced_on?: string;
  results_uuid?: string;
}

export interface Metrics {
  at: number;
  cpu_percent: number;
  memory_bytes: number;
  peak_memory_bytes?: number;
  memory_limit_bytes?: number;
  gpus?: GpuMetrics[];
  busy_s?: number | null;
  measured_s?: number;
  mean_cpu_percent?: number;
  peak_cpu_percent?: number;
}

export interface Money {
  rate_ucredits_per_h: number;
  hold_ucredits: number;
  cost_ucredits: number;
  usd_per_h?: number;
  simulated?: boolean;
}

export interface NameInfo {
  name: string;
  type: string;
  size_bytes?: number;
}

export interface Problem {
  title: string;
  status: number;
  code: string;
  detail?: string;
  hint?: string;
  type?: string;
}

export interface SessionList {
  sessions: SessionView[];
}

export interface SessionView {
  name: string;
  job: JobView;
  listening?: boolean;
  address?: string;
  key?: string;
}
