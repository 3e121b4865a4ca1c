// Figures as people read them. As words.py and amounts.py say them.

const UCREDITS_PER_USD = 1e8;

export function duration(seconds: number): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.floor((whole % 3600) / 60);
  return minutes ? `${Math.floor(whole / 3600)} h ${two(minutes)} min` : `${Math.floor(whole / 3600)} h`;
}

export function money(ucredits: number): string {
  const usd = ucredits / UCREDITS_PER_USD;
  if (usd === 0) return "$0";
  if (usd < 0.00005) return "<$0.0001";
  const digits = usd >= 0.99995 ? 2 : 4;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function rate(ucreditsPerH: number): string {
  return ucreditsPerH ? `$${Number((ucreditsPerH / UCREDITS_PER_USD).toPrecision(4))}/h` : "free";
}

export function credits(ucredits: number): string {
  const count = ucredits / 1e6;
  return `${count.toLocaleString("en-US", { maximumFractionDigits: count < 100 ? 2 : 0 })} credits`;
}
