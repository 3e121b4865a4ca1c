// Made by generate.py from jupyter_remote.wire; do not edit.

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
  machines: number;
  machines_usd_per_h: number;
}

export interface Advice {
  machine: string;
  text: string;
  saves_percent: number;
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
  peak_power_w?: number;
  peak_temperature_c?: number;
  index?: number;
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

export interface InstanceList {
  instances: InstanceView[];
}

export interface InstanceView {
  id: string;
  provider: string;
  machine: string;
  state: string;
  provider_id?: string;
  zone?: string;
  spot?: boolean;
  owner?: string;
  job?: string;
  usd_per_h?: number;
  created_at?: number;
  ready_at?: number | null;
  ended_at?: number | null;
  step?: string;
  detail?: string;
  slots?: number;
  busy?: number;
  idle_since_at?: number | null;
  ends_at?: number | null;
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

export interface JobOutputs {
  job: JobView;
  cursor: number;
  outputs?: Record<string, unknown>[] | null;
  cut?: boolean;
  cleared?: boolean;
  updated?: number[];
  error?: RemoteFailure | null;
  receipt?: Receipt | null;
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
  cell?: string;
  cell_code?: string;
  fuse?: string;
  estimate?: Estimate | null;
  warned_at?: number | null;
  kill_at?: number | null;
  checkpoint_at?: number | null;
  checkpoint_bytes?: number;
  resumes?: string;
  cached_from?: string;
  saved_ucredits?: number;
  priced_on?: string;
  results_uuid?: string;
}

export interface MachineList {
  machines: MachineType[];
  slots_free?: Record<string, number>;
  slots?: Record<string, number>;
  problems?: string[];
}

export interface MachineType {
  id: string;
  cpus: number;
  memory_bytes: number;
  gpu: string;
  gpu_count: number;
  gpu_memory_bytes: number;
  usd_per_h: number;
  usd_per_h_low: number;
  spot: boolean;
  priced_on: string;
  source: string;
  simulated: boolean;
  provider: string;
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
  disk_bytes?: number;
  disk_total_bytes?: number;
  peak_disk_bytes?: number;
  read_bytes_per_s?: number;
  written_bytes_per_s?: number;
  peak_read_bytes_per_s?: number;
  peak_written_bytes_per_s?: number;
  received_bytes_per_s?: number;
  sent_bytes_per_s?: number;
  peak_received_bytes_per_s?: number;
  peak_sent_bytes_per_s?: number;
}

export interface MissingSegment {
  digest: string;
  chunks?: string[];
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

export interface Offer {
  machine: MachineType;
  estimate: Estimate;
  hold_ucredits: number;
  start_s?: number;
  warm?: boolean;
}

export interface PageSession {
  owner: string;
  scopes: string[];
  expires_at: number;
  embedded: boolean;
}

export interface PlanReply {
  machine: MachineType;
  rate_ucredits_per_h: number;
  hold_ucredits: number;
  max_run_s: number;
  missing?: MissingSegment[];
  start_s?: number;
  warm?: boolean;
  available_ucredits?: number;
  cached_from?: string;
  estimate?: Estimate;
  offers?: Offer[];
  least_ucredits?: number;
  slots_free?: number;
  jobs_waiting?: number;
  same_python?: boolean;
  there?: WorkerEnvironment | null;
  fuse?: string;
  refused?: string;
  gpus?: number;
}

export interface Problem {
  title: string;
  status: number;
  code: string;
  detail?: string;
  hint?: string;
  type?: string;
}

export interface Receipt {
  receipt: number;
  id: string;
  kind: string;
  status: string;
  reason?: string;
  detail?: string;
  ended_by?: string;
  end_text?: string;
  description?: string;
  visibility?: string;
  version?: string;
  notebook?: string;
  session?: string;
  batch?: string;
  resumes?: string;
  cached_from?: string;
  code_key?: string;
  code_digest?: string;
  inputs?: NameInfo[];
  inputs_bytes?: number;
  inputs_digest?: string;
  segments?: [string, number][];
  files?: ReceiptFile[];
  files_digest?: string;
  environment?: ReceiptEnvironment;
  machine?: string;
  simulated?: boolean;
  offer?: MachineType | null;
  provider?: string;
  worker?: string;
  price?: ReceiptPrice;
  submitted_at?: number;
  claimed_at?: number | null;
  started_at?: number | null;
  ended_at?: number | null;
  waited_s?: number;
  ran_s?: number;
  attempts?: ReceiptAttempt[];
  use?: Metrics | null;
  cost?: ReceiptCost;
  advice?: Advice | null;
}

export interface ReceiptAttempt {
  epoch: number;
  worker: string;
  how: string;
  claimed_at: number;
  started_at?: number | null;
  ended_at?: number | null;
  signal?: string;
  charged_ucredits?: number;
  lost_ucredits?: number;
}

export interface ReceiptCost {
  total_ucredits?: number;
  run_ucredits?: number;
  waiting_ucredits?: number | null;
  disk_ucredits?: number;
  egress_ucredits?: number;
  lost_ucredits?: number;
  saved_ucredits?: number;
}

export interface ReceiptEnvironment {
  python?: string;
  platform?: string;
  packages?: Record<string, string>;
  lock?: string;
}

export interface ReceiptFile {
  path: string;
  digest: string;
  size_bytes: number;
  source?: string;
}

export interface ReceiptPrice {
  usd_per_h?: number;
  priced_on?: string;
  source?: string;
  spot?: boolean;
}

export interface RemoteFailure {
  ename: string;
  evalue: string;
  traceback?: string[];
  module?: string;
  qualname?: string;
  mro?: [string, string][];
  args?: (string | number | number | boolean | null)[];
  attributes?: Record<string, string | number | number | boolean | null>;
  notes?: string[];
  cause?: RemoteFailure | null;
  context?: RemoteFailure | null;
  suppress_context?: boolean;
  group?: RemoteFailure[];
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

export interface WorkerEnvironment {
  python: string;
  magic?: string;
  platform?: string;
  machine?: string;
  packages?: Record<string, string>;
}
